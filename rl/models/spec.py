"""What training, sampling and planning need to know about a model family: image placeholders,
numbers of tokens, positions, attention masks, and the names of its parts.

Shapes: R rows, T columns (tokens of a row), L tokens of a trunk. A trunk is the shared prompt of a
tree; a branch is one completion of it.
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
    """A recipe's `model` section: which model, how large its images may be, which parts are frozen.

    >>> ModelConfig(path="models/tiny", freeze=("vision",)).freeze
    ('vision',)
    """

    path: str = Field(description="A checkpoint folder, as from_pretrained opens it.")
    max_pixels: int | None = Field(None, gt=0, description="Image limit; saved with checkpoints.")
    freeze: tuple[Part, ...] = Field((), description="Parts that are not trained.")


class ModelSpec(ABC):
    """One checkpoint, seen by its family. `config` is its config.json, `processor` its processor:

        spec = find_spec(path, load_processor(path))
        spec.num_image_tokens(640, 480)          # lengths are planned without decoding an image
        fields = spec.pixels([image])            # what the vision tower takes
        spec.attention(sees_RTT, depth_RT, dtype)

    A family is a subclass in a file of `rl/models/families/`. It has to define:

    - `name` and `model_types`, the values of config.json's model_type that it is for;
    - `limit_pixels`, or nothing in it for a text-only family (`has_vision = False`);
    - with vision: `parts`, `image_token_id`, `banned_ids`, `num_image_tokens`, `pixels`,
      `encode_images`, and `positions` where they are not 0, 1, 2, ...

    Everything else has a default. docs/extending.md shows a whole family, and the tests in
    tests/rl/models run on every file of the folder.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    has_vision: ClassVar[bool] = True
    # "vision", "projector" -> prefixes of their parameters' names
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}

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
        """How trees are laid out: "tree" if a mask of our own reaches every layer of the text
        model, so that prompt and images are computed once for all branches; else "rows", one branch
        in a row.
        """
        return "tree" if self.layer_types <= {FULL, SLIDING} else "rows"

    @property
    def image_token_id(self) -> int | None:
        """The placeholder that images' features replace; None for a text-only model."""
        return None

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Ids that are never sampled and have no probability in RL: image placeholders. A sampled
        one would promise an image that is not there, and break every later forward pass.
        """
        return ()

    @property
    def end_id(self) -> int:
        """The token that ends an assistant turn."""
        return self.eos_ids[0]

    def num_image_tokens(self, width: int, height: int) -> int:
        """How many placeholder tokens an image of this size (pixels, from its header) becomes."""
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def resized(self, width: int, height: int) -> tuple[int, int] | None:
        """The size (width, height) to which the processor first resizes an image of this size.

        Another process may then do it beforehand with `rl.data.decode.resize`, to the same pixels.
        None if the image is small enough, or if the processor resizes in another way.
        """
        return None

    # -- tensors

    def pixels(self, images: Sequence[PILImage]) -> list[dict[str, Tensor]]:
        """The vision tower's inputs, one dict for each image. A micro-batch joins those of its
        images along dimension 0.
        """
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def positions(self, ids: Sequence[int], images: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Positions of a trunk [axes, L]; a branch continues from their largest value + 1.

        One axis for plain RoPE, three (time, height, width) for M-RoPE. `images`: `pixels` of the
        trunk's images, in order.
        """
        import torch

        return torch.arange(len(ids)).unsqueeze(0)

    def encode_images(self, model: Any, fields: Mapping[str, Tensor], order: Sequence[int]) -> Any:
        """Runs the vision tower once for each image of `fields`.

        Returns the model's own output of `get_image_features`, in which the i-th run of
        placeholders in the rows gets image `order[i]`: an image may be shown several times.
        """
        raise ModelError(
            f"a {self.name} model takes no images",
            do="leave the images out, or choose a model with vision",
        )

    def own_position_inputs(
        self, input_ids: Tensor, fields: Mapping[str, Tensor] | None, order: Sequence[int]
    ) -> dict[str, Any]:
        """What the model needs to compute the positions of plain rows by itself. The check at start
        compares those with ours.
        """
        return {}

    def attention(self, sees_RTT: Tensor, depth_RT: Tensor, dtype: torch.dtype) -> Any:
        """The additive attention mask(s) of the text model: [R, 1, T, T], or {layer type: mask}
        where some layers see a window only.

        `sees_RTT` (bool): whether a token may attend to another; `depth_RT` (int): how many tokens
        precede it on its own path, which is what a window counts.
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
        """Writes the image limit into the processor, which is saved with every checkpoint.

        Raises: ModelError if the family cannot keep this limit.
        """

    @staticmethod
    def engine_kwargs(max_pixels: int) -> dict[str, Any]:
        """The same limit as arguments of a processor's call, for an engine with a processor of its
        own."""
        return {}

    @staticmethod
    def write_tiny(out: Path) -> None:
        """Writes a tiny random checkpoint, for `plumbline tiny` and the tests of every family. Only
        for families that `recipes/synthetic/tiny.py` does not make.

        Raises: ModelError if the family defines none.
        """
        raise ModelError(
            "the family makes no tiny checkpoint", do="give its class a static method write_tiny"
        )

    def _eos_ids(self) -> tuple[int, ...]:
        # The tokenizer's comes first: it ends a chat turn, config.json's may end a document.
        named = [self.tokenizer.eos_token_id]
        for config in (self.text_config, self.config):
            value = config.get("eos_token_id")
            named += value if isinstance(value, list) else [value]
        ids = tuple(dict.fromkeys(i for i in named if i is not None))
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
    """An additive mask [R, 1, T, T]: 0 where a token sees another, else the dtype's lowest value.

    Not minus infinity: a padding token sees nothing, and softmax over only infinities is NaN.
    """
    import torch

    lowest = torch.finfo(dtype).min
    zeros = torch.zeros(sees_RTT.shape, dtype=dtype, device=sees_RTT.device)
    return zeros.masked_fill_(~sees_RTT, lowest).unsqueeze(1)
