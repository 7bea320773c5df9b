"""LLaVA-1.5: a CLIP tower at one fixed size, a two-layer projector, a Llama text model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rl.errors import ModelError
from rl.models.spec import ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from torch import Tensor


class Llava(ModelSpec):
    """Every image becomes the same number of tokens, because it is resized and cropped to the
    tower's square.
    """

    name: ClassVar[str] = "llava"
    model_types: ClassVar[tuple[str, ...]] = ("llava",)
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision": ("model.vision_tower.",),
        "projector": ("model.multi_modal_projector.",),
    }

    @property
    def image_token_id(self) -> int | None:
        return self._token_id("image_token_id", "image_token_index")

    @property
    def banned_ids(self) -> tuple[int, ...]:
        return () if self.image_token_id is None else (self.image_token_id,)

    def num_image_tokens(self, width: int, height: int) -> int:
        crop = self.processor.image_processor.crop_size
        patch = self.processor.patch_size
        tokens = int((crop["height"] // patch) * (crop["width"] // patch))
        tokens += int(self.processor.num_additional_image_tokens)
        # "default" drops the class token, which num_additional_image_tokens has counted.
        return tokens - 1 if self.processor.vision_feature_select_strategy == "default" else tokens

    def pixels(self, images: Sequence[PILImage]) -> list[dict[str, Tensor]]:
        out = self.processor.image_processor(list(images), return_tensors="pt")
        return [{"pixel_values": p.unsqueeze(0)} for p in out["pixel_values"]]

    def encode_images(self, model: Any, fields: Mapping[str, Tensor], order: Sequence[int]) -> Any:
        out = model.get_image_features(
            pixel_values=fields["pixel_values"].to(model.dtype), return_dict=True
        )
        out.pooler_output = [out.pooler_output[i] for i in order]
        return out

    @staticmethod
    def limit_pixels(processor: Any, max_pixels: int) -> None:
        crop = processor.image_processor.crop_size
        if max_pixels < crop["height"] * crop["width"]:
            raise ModelError(
                f"max_pixels = {max_pixels}, but LLaVA's images are always "
                f"{crop['width']}x{crop['height']}",
                expected=f"at least {crop['height'] * crop['width']}, or no limit",
                do="raise model.max_pixels, or leave it out",
            )
