"""The policy's weights as they leave the learner: whole, under the checkpoint file's names, a chunk
at a time. Every transport reads them here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl.errors import ModelError
from rl.models.load import under_file_names, without_tied

# Within it these parameters are whole on every rank; all ranks enter it together.
Whole = Callable[[Sequence[nn.Parameter]], AbstractContextManager[None]]


@dataclass(frozen=True)
class WeightInfo:
    """A weight as the file has it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class Weights:
    """Names and tensors of a model; may be gone through again and again.

    A chunk is a block of the model (a decoder layer, a block of the tower, or all that stands
    outside of them). At ZeRO-3 only one is whole at a time, and `whole` is a gathering: every rank
    goes through all of it. A tensor is good until the next one is asked for.

    Raises: ModelError where the file's names cannot be made a block at a time.
    """

    def __init__(self, model: Any, whole: Whole) -> None:
        self._model, self._whole = model, whole
        shapes = _without_storage(model)
        kept = without_tied(model, shapes)
        self._blocks = _blocks(kept)
        in_blocks = {
            name: weight
            for block in self._blocks
            for name, weight in under_file_names(model, {n: kept[n] for n in block}).items()
        }
        at_once = under_file_names(model, dict(kept))
        if {n: w.shape for n, w in in_blocks.items()} != {n: w.shape for n, w in at_once.items()}:
            raise ModelError(
                "its weights' names are not those of the file when taken block by block",
                where=type(model).__name__,
                do="publish with rollout.transport: file from ZeRO 0, 1 or 2, and report this",
            )
        self.infos = tuple(
            WeightInfo(name, weight.dtype, tuple(weight.shape))
            for name, weight in in_blocks.items()
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of one publish."""
        return sum(info.num_bytes for info in self.infos)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and whole tensors in the order of `infos`, on the learner's device."""
        for block in self._blocks:
            held = {name: self._model.get_parameter_or_buffer(name) for name in block}
            with self._whole([t for t in held.values() if isinstance(t, nn.Parameter)]):
                state = {name: tensor.detach() for name, tensor in held.items()}
                for name, weight in under_file_names(self._model, state).items():
                    yield name, weight.contiguous()


def write_file(weights: Weights, path: Path, *, is_writer: bool) -> None:
    """Every rank goes through the weights; the writer puts them into one safetensors file, whole
    or not at all.
    """
    from safetensors.torch import save_file

    taken = {}
    for name, weight in weights:
        if is_writer:
            taken[name] = weight.to("cpu", copy=True)
    if is_writer:
        unfinished = path.with_name(f".{path.name}.partial")
        save_file(taken, unfinished, metadata={"format": "pt"})
        os.replace(unfinished, path)


def _without_storage(model: Any) -> dict[str, Tensor]:
    """The state dict on the meta device; ZeRO-3 keeps a partitioned parameter's shape beside it."""
    found = {}
    for name in model.state_dict():
        tensor = model.get_parameter_or_buffer(name)
        shape = getattr(tensor, "ds_shape", tensor.shape)
        found[name] = torch.empty(shape, dtype=tensor.dtype, device="meta")
    return found


def _blocks(names: Mapping[str, Tensor]) -> list[list[str]]:
    """The names by block: what stands before the first number of a name, that number included."""
    blocks: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        block = "" if number is None else ".".join(parts[: number + 1])
        blocks.setdefault(block, []).append(name)
    return list(blocks.values())
