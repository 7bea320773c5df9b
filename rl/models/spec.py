"""What the rest of the line must know of a model family: placeholders, lengths, positions,
attention, parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rl.config import Section
from rl.errors import ModelError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as PILImage
    from torch import Tensor

Layout = Literal["tree", "rows"]
Dtype = Literal["float32", "bfloat16", "float16"]
Part = Literal["vision", "projector"]
FULL, SLIDING = "full_attention", "sliding_attention"


class ModelConfig(Section):
    """Which model, how large its images may be, and which of its parts stay as they are."""

    path: str = Field(description="A checkpoint folder, as from_pretrained opens it.")
    max_pixels: int | None = Field(None, gt=0, description="Image limit; saved with checkpoints.")
    freeze: tuple[Part, ...] = Field((), description="Parts that are not trained.")


class ModelSpec(ABC):
    """One checkpoint as its family sees it. `config` is its config.json, `processor` what
    load_processor gave.

    A family is a subclass in `rl/models/families/`; `model_types` are the config.json values it
    answers for. `layout` is "rows" where the tree would not be valid; `banned_ids` are never
    sampled nor given probability in RL.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    has_vision: ClassVar[bool] = True
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # "vision", "projector" -> prefixes

    def __init__(self, config: Mapping[str, Any], processor: Any) -> None:
        self.config, self.processor = config, processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.text_config: Mapping[str, Any] = config.get("text_config") or config
        self.layer_types = frozenset(self.text_config.get("layer_types") or (FULL,))
        self.eos_ids = self._eos_ids()
        for key in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
            if self.text_config.get(key) not in (None, 0, 1, 1.0):
                raise ModelError(
                    f"{key} = {self.text_config[key]} is not supported for {self.name}",
                    where="config.json",
                    expected="plain logits",
                    do="choose a model without it",
                )

    # -- tokens

    @property
    def layout(self) -> Layout:
        """Whether a 4-D mask reaches every layer of the text model: then prompt and images are
        computed once a tree.
        """
        return "tree" if self.layer_types <= {FULL, SLIDING} else "rows"

    @property
    def image_token_id(self) -> int | None:
        """The placeholder that images' features replace; None for a text-only model."""
        return None

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Placeholder ids: a sampled one would break every later forward."""
        return ()

    @property
    def end_id(self) -> int:
        """The token that ends an assistant turn."""
        return self.eos_ids[0]

    def num_image_tokens(self, width: int, height: int) -> int:
        """Placeholders of an image of that size (pixels, as its header says), without decoding
        it.
        """
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def resized(self, width: int, height: int) -> tuple[int, int] | None:
        """(width, height) to which the processor brings an image of that size before anything else,
        by `rl.data.decode.resize`: another process may then do it first, to the same pixels. None
        where the image is small enough, or the processor's way is another one.
        """
        return None

    # -- tensors

    def pixels(self, images: Sequence[PILImage]) -> list[dict[str, Tensor]]:
        """The vision tower's inputs, one dict an image; those of several images are joined along
        dimension 0.
        """
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def positions(self, ids: Sequence[int], images: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Positions of a trunk: [axes, L]. A branch goes on from their largest value + 1.

        Shapes: one axis for plain RoPE, three for M-RoPE.
        """
        import torch

        return torch.arange(len(ids)).unsqueeze(0)

    def encode_images(self, model: Any, fields: Mapping[str, Tensor], order: Sequence[int]) -> Any:
        """Runs the vision tower once an image; returns its output with image order[i] at
        placeholder run i.
        """
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def own_position_inputs(
        self, input_ids: Tensor, fields: Mapping[str, Tensor] | None, order: Sequence[int]
    ) -> dict[str, Any]:
        """What the model needs to find one-row positions by itself: the start-up check's
        independent side.
        """
        return {}

    def attention(self, sees_RTT: Tensor, depth_RT: Tensor, dtype: torch.dtype) -> Any:
        """The additive mask(s) of the text model. `depth_RT` counts a token's predecessors on its
        own path.

        Returns [R, 1, T, T], or {layer type: mask} where some layers see a window only.
        """
        mask = additive(sees_RTT, dtype)
        if SLIDING not in self.layer_types:
            return mask
        window = int(self.text_config["sliding_window"])
        near_RTT = depth_RT[:, :, None] - depth_RT[:, None, :] < window
        return {FULL: mask, SLIDING: additive(sees_RTT & near_RTT, dtype)}

    # -- processor

    @staticmethod
    @abstractmethod
    def limit_pixels(processor: Any, max_pixels: int) -> None:
        """Writes the image limit into the processor as it is saved with the checkpoint."""

    @staticmethod
    def engine_kwargs(max_pixels: int) -> dict[str, Any]:
        """The same limit as an engine's `mm_processor_kwargs`."""
        return {}

    @staticmethod
    def write_tiny(out: Path) -> None:
        """Writes a tiny random checkpoint: for `plumbline tiny` and the contract tests, where
        `recipes/synthetic/tiny.py` makes none of this family.

        Raises: ModelError where there is none.
        """
        raise ModelError(
            "the family makes no tiny checkpoint", do="give its class a static method write_tiny"
        )

    def _eos_ids(self) -> tuple[int, ...]:
        found = [self.tokenizer.eos_token_id]
        for place in (self.text_config, self.config):
            value = place.get("eos_token_id")
            found += value if isinstance(value, list) else [value]
        ids = tuple(dict.fromkeys(i for i in found if i is not None))
        if not ids:
            raise ModelError(
                "the tokenizer has no end token",
                expected="eos_token in its config",
                do="add eos_token to tokenizer_config.json",
            )
        return ids

    def _token_id(self, key: str, *others: str) -> int | None:
        for name in (key, *others):
            if self.config.get(name) is not None:
                return int(self.config[name])
        return None


def additive(sees_RTT: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a token sees another, the dtype's lowest value elsewhere: [R, 1, T, T]."""
    import torch

    lowest = torch.finfo(dtype).min
    zeros = torch.zeros(sees_RTT.shape, dtype=dtype, device=sees_RTT.device)
    return zeros.masked_fill_(~sees_RTT, lowest).unsqueeze(1)
