"""The policy's weights as they leave the learner: whole, under the checkpoint file's names, one
block of the model at a time. Publishing and saving both read them here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl.errors import ModelError
from rl.models.adapters import Adapter
from rl.models.load import under_file_names, without_tied

# A context manager within which these parameters are whole on every rank. At ZeRO-3 it gathers
# them, and all ranks have to enter it together; elsewhere it does nothing.
Whole = Callable[[Sequence[nn.Parameter]], AbstractContextManager[None]]

# What from_pretrained expects: one file, or shards with an index of them.
FILE = "model{suffix}.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_SIZE = "50GB"  # save_pretrained's default; tests/rl/learners/test_weights.py compares the two
METADATA = {"format": "pt"}


@dataclass(frozen=True)
class WeightInfo:
    """A weight as the checkpoint file has it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class Weights:
    """Names and whole tensors of a model, under the checkpoint file's names. Every rank makes one:

        weights = Weights(model, whole)   # names and shapes only: nothing is gathered
        weights.infos                     # every weight's name, dtype and shape
        for name, tensor in weights:      # all ranks together: each block waits for every rank
            ...                           # the tensor is valid until the next one is asked for

    A block is a decoder layer, a block of the vision tower, or everything outside of these. At
    ZeRO-3 only one block is whole at a time, and a rank that stops halfway leaves the others
    waiting for ever. The weights may be gone through any number of times.

    Raises: ModelError if the file's names cannot be made one block at a time.
    """

    def __init__(self, model: Any, whole: Whole, adapter: Adapter | None = None) -> None:
        self._model, self._whole, self._adapter = model, whole, adapter or Adapter()
        shapes = _without_storage(model)
        kept = without_tied(model, shapes)
        self._blocks = _blocks(kept)
        converted = [self._under_file_names({n: kept[n] for n in block}) for block in self._blocks]
        in_blocks = {name: weight for block in converted for name, weight in block.items()}
        # Name in the file -> name in the model, where a block's tensors are renamed and nothing
        # else: then they need not go through transformers' conversion at every publish.
        self._renamed = [
            _only_renamed({n: kept[n] for n in block}, names)
            for block, names in zip(self._blocks, converted, strict=True)
        ]
        # The file's own order, which decides what goes into which shard; the blocks have another.
        self._in_file_order = self._under_file_names(dict(kept))
        if _shapes(in_blocks) != _shapes(self._in_file_order):
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
        for block, renamed in zip(self._blocks, self._renamed, strict=True):
            held = {name: self._model.get_parameter_or_buffer(name) for name in block}
            with self._whole([t for t in held.values() if isinstance(t, nn.Parameter)]):
                state = {name: tensor.detach() for name, tensor in held.items()}
                if renamed is None:
                    state = self._under_file_names(state)
                else:
                    state = {name: state[ours] for name, ours in renamed.items()}
                for name, weight in state.items():
                    yield name, weight.contiguous()

    def shards(self, max_shard_size: int | str) -> Any:
        """How `save_pretrained` cuts these weights into files: huggingface_hub's StateDictSplit."""
        from huggingface_hub import split_torch_state_dict_into_shards

        return split_torch_state_dict_into_shards(
            self._in_file_order, filename_pattern=FILE, max_shard_size=max_shard_size
        )

    def save_settings(self, folder: Path) -> None:
        """Writes config.json, generation_config.json and a custom model's code, without weights."""
        # save_pretrained of no weights: it alone knows what belongs beside them, such as the dtype
        # and the architecture in config.json.
        self._model.save_pretrained(folder, state_dict={})

    @property
    def num_parameters(self) -> int:
        """The model's parameters, as the index of shards states them: tied ones count once."""
        return sum(_shape(parameter).numel() for parameter in self._model.parameters())

    def _under_file_names(self, block: dict[str, Tensor]) -> dict[str, Tensor]:
        return under_file_names(self._model, self._adapter.merged(block))


def write_file(weights: Weights, path: Path, *, is_writer: bool) -> None:
    """Publishes to one safetensors file, whole or not at all: a reader never sees half of it.

    Every rank calls this and goes through the weights; only the writer (rank 0) holds copies.
    """
    from safetensors.torch import save_file

    taken = {}
    for name, weight in weights:
        if is_writer:
            taken[name] = weight.to("cpu", copy=True)
    if is_writer:
        unfinished = path.with_name(f".{path.name}.partial")
        save_file(taken, unfinished, metadata=METADATA)
        os.replace(unfinished, path)


def write_checkpoint(
    weights: Weights, folder: Path, *, is_writer: bool, max_shard_size: int | str = SHARD_SIZE
) -> None:
    """Writes what `save_pretrained` would write into `folder`, byte for byte: config, generation
    config, the weights' files and the index of several.

    Every rank calls this and goes through the weights, one block whole at a time; only the writer
    (rank 0) holds copies, and a file's only until its last weight has come.
    """
    from safetensors.torch import save_file

    split = weights.shards(max_shard_size)
    if is_writer:
        weights.save_settings(folder)
    missing = {file: set(names) for file, names in split.filename_to_tensors.items()}
    taken: dict[str, dict[str, Tensor]] = {file: {} for file in missing}
    for name, weight in weights:
        if not is_writer:
            continue
        file = split.tensor_to_filename[name]
        taken[file][name] = weight.to("cpu", copy=True)
        missing[file].remove(name)
        if not missing[file]:
            save_file(taken.pop(file), folder / file, metadata=METADATA)
    if is_writer and split.is_sharded:
        index = {
            "metadata": {"total_parameters": weights.num_parameters, **split.metadata},
            "weight_map": split.tensor_to_filename,
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / INDEX).write_text(text, encoding="utf-8")


def _shape(tensor: Tensor) -> torch.Size:
    """The whole tensor's shape; ZeRO-3 keeps a partitioned parameter's beside it."""
    shape: torch.Size = getattr(tensor, "ds_shape", tensor.shape)
    return shape


def _only_renamed(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> dict[str, str] | None:
    """New name -> old name, or None where a tensor of `after` is not one of those before."""
    names = {id(tensor): name for name, tensor in before.items()}
    if any(id(tensor) not in names for tensor in after.values()):
        return None
    return {name: names[id(tensor)] for name, tensor in after.items()}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def _without_storage(model: Any) -> dict[str, Tensor]:
    """The state dict on the meta device."""
    found = {}
    for name in model.state_dict():
        tensor = model.get_parameter_or_buffer(name)
        found[name] = torch.empty(_shape(tensor), dtype=tensor.dtype, device="meta")
    return found


def _blocks(names: Mapping[str, Tensor]) -> list[list[str]]:
    """The names by block: a name's part up to its first number, that number included.

    `model.layers.3.mlp.up_proj.weight` is of the block `model.layers.3`; names without a number
    make up one block.
    """
    blocks: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        block = "" if number is None else ".".join(parts[: number + 1])
        blocks.setdefault(block, []).append(name)
    return list(blocks.values())
