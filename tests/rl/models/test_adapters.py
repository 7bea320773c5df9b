"""The seam for adapters: a subclass alone makes the learner's weights those of a merged model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rl.learners.weights import Weights, write_checkpoint
from rl.models.adapters import Adapter
from rl.models.load import load_model


@contextmanager
def nothing(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    yield


class LowRank(Adapter):
    """A product of rank 2 beside every query projection, of which B begins as ones here."""

    def wrap(self, model: Any) -> Any:
        model.requires_grad_(False)
        for name, module in model.named_modules():
            if name.endswith("q_proj"):
                module.A = nn.Parameter(torch.randn(2, module.in_features))
                module.B = nn.Parameter(torch.ones(module.out_features, 2))
        return model

    def merged(self, block: Mapping[str, Tensor]) -> dict[str, Tensor]:
        plain = {name: w for name, w in block.items() if not name.endswith((".A", ".B"))}
        for name in block:
            if name.endswith(".A"):
                stem = name.removesuffix(".A")
                plain[f"{stem}.weight"] = block[f"{stem}.weight"] + block[f"{stem}.B"] @ block[name]
        return plain


def test_without_an_adapter_everything_stays_as_it_is(tiny_qwen3: Path) -> None:
    adapter, model = Adapter(), load_model(tiny_qwen3)
    assert adapter.wrap(model) is model
    block = dict(model.named_parameters())
    assert adapter.merged(block) == block
    adapter.reset()
    assert adapter.reference(model) is model
    assert not any(p.requires_grad for p in model.parameters())


def test_what_leaves_an_adapted_model_is_a_plain_checkpoint(
    tiny_qwen3: Path, tmp_path: Path
) -> None:
    """Names, shapes and files of the base model, with the products in their weights."""
    plain, adapter = load_model(tiny_qwen3), LowRank()
    model = adapter.wrap(load_model(tiny_qwen3))
    untouched = {name: weight.clone() for name, weight in model.named_parameters()}
    weights = Weights(model, nothing, adapter)
    assert weights.infos == Weights(plain, nothing).infos
    write_checkpoint(weights, tmp_path, is_writer=True)
    found, base = (
        load_file(tmp_path / "model.safetensors"),
        load_file(tiny_qwen3 / "model.safetensors"),
    )
    assert found.keys() == base.keys()
    for name, weight in found.items():
        if name.endswith("q_proj.weight"):
            module = model.get_submodule(name.removesuffix(".weight"))
            assert torch.equal(weight, base[name] + module.B @ module.A)
        else:
            assert torch.equal(weight, base[name])
    load_model(tmp_path)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, untouched[name])
