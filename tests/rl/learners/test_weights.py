"""What leaves the learner is what the file holds, gathered a block at a time."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from rl.errors import ModelError
from rl.learners.weights import SHARD_SIZE, Weights, write_checkpoint, write_file
from rl.models import load
from rl.models.load import empty_model, file_weights, load_model
from rl.models.spec import Dtype
from tests.rl.models.trees import FAMILIES, checkpoint


@contextmanager
def nothing(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    yield


class Partitions:
    """As ZeRO-3 does it: a parameter has no elements but within `whole`, and keeps its shape
    beside it.
    """

    def __init__(self, model: Any) -> None:
        self.held = {p: p.data for p in model.parameters()}
        self.most, self.total = 0, sum(p.numel() for p in self.held)
        for parameter in self.held:
            parameter.ds_shape = parameter.shape
            parameter.data = torch.empty(0, dtype=parameter.dtype)

    @contextmanager
    def whole(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        for parameter in parameters:
            parameter.data = self.held[parameter]
        self.most = max(self.most, sum(p.numel() for p in parameters))
        yield
        for parameter in parameters:
            parameter.data = torch.empty(0, dtype=parameter.dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_give_what_the_file_holds(request: pytest.FixtureRequest, family: str) -> None:
    model = load_model(checkpoint(request, family))
    wanted = {name: weight.clone() for name, weight in file_weights(model).items()}
    weights = Weights(model, nothing)
    for found in (dict(weights), dict(weights)):  # again and again
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    told = [(info.name, info.dtype, info.shape) for info in weights.infos]
    assert told == [(name, w.dtype, tuple(w.shape)) for name, w in weights]
    assert weights.num_bytes == sum(w.nbytes for w in wanted.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_partitioned_weights_are_whole_a_block_at_a_time(
    request: pytest.FixtureRequest, family: str
) -> None:
    model = load_model(checkpoint(request, family))
    wanted = {name: weight.clone() for name, weight in file_weights(model).items()}
    ranks = Partitions(model)
    weights = Weights(model, ranks.whole)
    assert ranks.most == 0  # names and shapes need no gathering
    taken = {name: weight.clone() for name, weight in weights}
    assert taken.keys() == wanted.keys()
    assert all(torch.equal(taken[name], wanted[name]) for name in wanted)
    assert ranks.most < 0.9 * ranks.total


def test_one_rank_writes_and_all_gather(tiny_qwen3: Path, tmp_path: Path) -> None:
    model = load_model(tiny_qwen3)
    wanted = {name: weight.clone() for name, weight in file_weights(model).items()}
    ranks = Partitions(model)
    weights = Weights(model, ranks.whole)
    write_file(weights, tmp_path / "other", is_writer=False)
    assert ranks.most > 0
    assert list(tmp_path.iterdir()) == []
    write_file(weights, tmp_path / "w", is_writer=True)
    found = load_file(tmp_path / "w")
    assert [file.name for file in tmp_path.iterdir()] == ["w"]
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def same_files(ours: Path, theirs: Path) -> set[str]:
    """Their names, if both folders hold the same bytes under the same names."""
    files = {file.name: file.read_bytes() for file in theirs.iterdir()}
    assert {file.name for file in ours.iterdir()} == set(files)
    for name, data in files.items():
        assert (ours / name).read_bytes() == data, name
    return set(files)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_has_the_bytes_of_save_pretrained(
    request: pytest.FixtureRequest, family: str, dtype: Dtype, tmp_path: Path
) -> None:
    """Whole and in shards; tied weights once."""
    model = load_model(checkpoint(request, family), dtype)
    for size in (SHARD_SIZE, "150KB"):
        ours, theirs = tmp_path / f"ours-{size}", tmp_path / f"theirs-{size}"
        model.save_pretrained(theirs, max_shard_size=size)
        write_checkpoint(Weights(model, nothing), ours, is_writer=True, max_shard_size=size)
        files = same_files(ours, theirs)
        assert ("model.safetensors.index.json" in files) == (size != SHARD_SIZE)
        load_model(ours, dtype)


@pytest.mark.parametrize("family", ["tiny_qwen3vl", "tiny_llava"])
def test_a_partitioned_checkpoint_has_the_same_bytes(
    request: pytest.FixtureRequest, family: str, tmp_path: Path
) -> None:
    model = load_model(checkpoint(request, family))
    model.save_pretrained(tmp_path / "theirs", max_shard_size="150KB")
    ranks = Partitions(model)
    weights = Weights(model, ranks.whole)
    for folder, is_writer in (("ours", True), ("other", False)):
        (tmp_path / folder).mkdir()
        write_checkpoint(weights, tmp_path / folder, is_writer=is_writer, max_shard_size="150KB")
    same_files(tmp_path / "ours", tmp_path / "theirs")
    assert list((tmp_path / "other").iterdir()) == []
    assert 0 < ranks.most < 0.9 * ranks.total


def test_the_size_of_shards_is_save_pretraineds() -> None:
    default = inspect.signature(PreTrainedModel.save_pretrained).parameters["max_shard_size"]
    assert default.default == SHARD_SIZE


def test_shards_of_an_earlier_checkpoint_go(tiny_qwen3: Path, tmp_path: Path) -> None:
    """As save_pretrained does it: shards that are not written again would be loaded too."""
    model = load_model(tiny_qwen3)
    weights = Weights(model, nothing)
    for size in ("150KB", "300KB"):
        model.save_pretrained(tmp_path / "theirs", max_shard_size=size)
        write_checkpoint(weights, tmp_path / "ours", is_writer=True, max_shard_size=size)
    same_files(tmp_path / "ours", tmp_path / "theirs")


def test_no_weights_are_needed_to_name_them(tiny_qwen25vl: Path) -> None:
    told = Weights(load_model(tiny_qwen25vl), nothing).infos
    assert Weights(empty_model(tiny_qwen25vl), nothing).infos == told


def test_names_that_blocks_do_not_make_are_refused(
    tiny_qwen3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that joins two blocks' weights would be sent in parts."""

    def joined(model: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        layers = [w for name, w in state.items() if name.endswith("q_proj.weight")]
        return {"q": torch.cat(layers)} if layers else {}

    monkeypatch.setattr("rl.learners.weights.under_file_names", joined)
    model = load.load_model(tiny_qwen3)
    with pytest.raises(ModelError, match="block by block"):
        Weights(model, nothing)
