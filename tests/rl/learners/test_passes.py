"""The start-up check: it measures nothing on a sound family and refuses a broken one."""

from pathlib import Path

import pytest
import torch

from rl.data.collate import ImageStore
from rl.errors import ModelError
from rl.learners.passes import Passes
from tests.rl.models.trees import FAMILIES, Small, checkpoint, small


def passes(model: Small) -> Passes:
    return Passes(
        spec=model.spec,
        store=ImageStore(model.spec),
        layout="tree",
        row_tokens=100,
        tokens_per_microbatch=200,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_layouts_agree(request: pytest.FixtureRequest, family: str) -> None:
    model = small(checkpoint(request, family))
    made = passes(model)
    largest, mean = made.layout_gap([model.tree(seed) for seed in range(3)], model.forward)
    assert 0 <= mean <= largest <= 1e-5
    made.judge_layouts(largest, mean)


def test_a_family_that_drops_the_mask_is_refused(
    tiny_qwen3vl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(tiny_qwen3vl)
    monkeypatch.setattr(
        model.spec,
        "attention",
        lambda sees, _depth, _dtype: torch.zeros(sees.shape).triu(1).unsqueeze(1) * -1e9,
    )
    made = passes(model)
    gap = made.layout_gap([model.tree(seed) for seed in range(3)], model.forward)
    with pytest.raises(ModelError, match=r"tree and rows layout .*layout: rows"):
        made.judge_layouts(*gap)


def test_wrong_positions_are_refused(tiny_qwen3vl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(tiny_qwen3vl)
    monkeypatch.setattr(
        model.spec, "positions", lambda ids, _images: torch.arange(len(ids)).expand(3, -1)
    )
    made = passes(model)
    trees = [model.tree(seed, images=1) for seed in range(2)]
    with pytest.raises(ModelError, match="layout"):
        made.judge_layouts(*made.layout_gap(trees, model.forward))


def test_logprobs_come_back_in_order(tiny_qwen3vl: Path) -> None:
    model = small(tiny_qwen3vl)
    trees = [model.tree(seed) for seed in range(7)]
    found = passes(model).logprobs(trees, model.forward)
    for tree, branches in zip(trees, found, strict=True):
        alone = passes(model).logprobs([tree], model.forward)[0]
        for ours, single in zip(branches, alone, strict=True):
            torch.testing.assert_close(ours, single, rtol=0, atol=1e-5)
    assert sum(len(b) for t in found for b in t) == sum(tree.num_trained for tree in trees)
