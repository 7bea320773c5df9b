"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: native resolution, M-RoPE, patches merged 2 x 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rl.errors import DataError, ModelError
from rl.models.spec import ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from torch import Tensor


class QwenVL(ModelSpec):
    """Positions have three axes (time, height, width). An image advances all of them by the longer
    side of its grid of merged patches.
    """

    name: ClassVar[str] = "qwen_vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision": ("model.visual.",),
        "projector": ("model.visual.merger.", "model.visual.deepstack_merger_list."),
    }

    @property
    def image_token_id(self) -> int | None:
        return self._token_id("image_token_id")

    @property
    def banned_ids(self) -> tuple[int, ...]:
        keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        ids = [self._token_id(key) for key in keys]
        pad = self.tokenizer.get_vocab().get("<|vision_pad|>")
        return tuple(sorted({i for i in [*ids, pad] if i is not None}))

    @cached_property
    def merge_size(self) -> int:
        """A token is a square of merge_size x merge_size patches."""
        return int(self.processor.image_processor.merge_size)

    def num_image_tokens(self, width: int, height: int) -> int:
        image_processor = self.processor.image_processor
        try:
            patches = image_processor.get_number_of_image_patches(height, width, {})
        except ValueError as error:  # an aspect ratio beyond 200
            raise DataError(
                f"an image of {width}x{height} pixels: {error}",
                do="resize the image, or remove the row",
            ) from error
        return int(patches) // self.merge_size**2

    def resized(self, width: int, height: int) -> tuple[int, int] | None:
        from transformers.image_utils import PILImageResampling
        from transformers.models.qwen2_vl import image_processing_qwen2_vl as qwen

        ours = self.processor.image_processor
        is_known = isinstance(ours, qwen.Qwen2VLImageProcessor) and ours.do_resize
        if not is_known or ours.resample != PILImageResampling.BICUBIC:
            return None
        factor = ours.patch_size * ours.merge_size
        limits = (factor, int(ours.size["shortest_edge"]), int(ours.size["longest_edge"]))
        if width * height <= limits[-1]:
            return None
        try:
            size: tuple[int, int] = qwen.smart_resize(height, width, *limits)
        except ValueError:  # an aspect ratio beyond 200: num_image_tokens reports it
            return None
        # The processor will resize again. That must change nothing, or the pixels would differ.
        return size[::-1] if qwen.smart_resize(*size, *limits) == size else None

    def pixels(self, images: Sequence[PILImage]) -> list[dict[str, Tensor]]:
        out = self.processor.image_processor(list(images), return_tensors="pt")
        grid_I3 = out["image_grid_thw"]
        patches = out["pixel_values"].split(grid_I3.prod(-1).tolist())
        return [
            {"pixel_values": p, "image_grid_thw": g.unsqueeze(0)}
            for p, g in zip(patches, grid_I3, strict=True)
        ]

    def positions(self, ids: Sequence[int], images: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The positions [3, L] of the model's own get_rope_index, without its loop over tokens."""
        import numpy as np
        import torch

        positions = np.empty((3, len(ids)), dtype=np.int64)
        # `index` walks over the tokens, `position` is the value of the next position.
        index, position, token = 0, 0, self.image_token_id
        for image in images:
            start = ids.index(token, index)
            positions[:, index:start] = np.arange(position, position + start - index)
            position += start - index
            t, h, w = image["image_grid_thw"][0].tolist()
            h, w = h // self.merge_size, w // self.merge_size
            index = start + t * h * w
            # One (time, row, column) for each merged patch, row by row.
            positions[:, start:index] = np.indices((t, h, w)).reshape(3, -1) + position
            position += max(h, w)
        positions[:, index:] = np.arange(position, position + len(ids) - index)
        return torch.from_numpy(positions)

    def encode_images(self, model: Any, fields: Mapping[str, Tensor], order: Sequence[int]) -> Any:
        out = model.get_image_features(
            fields["pixel_values"], fields["image_grid_thw"], return_dict=True
        )
        out.pooler_output = [out.pooler_output[i] for i in order]
        if getattr(out, "deepstack_features", None) is not None:
            out.deepstack_features = [[f[i] for i in order] for f in out.deepstack_features]
        return out

    def own_position_inputs(
        self, input_ids: Tensor, fields: Mapping[str, Tensor] | None, order: Sequence[int]
    ) -> dict[str, Any]:
        if fields is None:
            return {}
        return {
            "image_grid_thw": fields["image_grid_thw"][list(order)],
            "mm_token_type_ids": input_ids.eq(self.image_token_id or -1).int(),
        }

    @staticmethod
    def limit_pixels(processor: Any, max_pixels: int) -> None:
        image_processor = processor.image_processor
        side = image_processor.patch_size * image_processor.merge_size
        if max_pixels < side * side:
            raise ModelError(
                f"max_pixels = {max_pixels} is less than one image token",
                expected=f"at least {side * side} ({side}x{side} pixels)",
                do="raise model.max_pixels",
            )
        size = image_processor.size
        shortest = min(int(size["shortest_edge"]), max_pixels)
        image_processor.size = type(size)(shortest_edge=shortest, longest_edge=max_pixels)

    @staticmethod
    def engine_kwargs(max_pixels: int) -> dict[str, Any]:
        return {"max_pixels": max_pixels}
