"""One rank's passes keep step with the other ranks, whose numbers are given here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.batch import MicroBatch
from rl.data.collate import ImageStore
from rl.learners.passes import Passes
from rl.learners.rank_passes import RankPasses
from rl.learners.ranks import Ranks
from tests.rl.models.trees import Small, small


@dataclass(frozen=True)
class Others(Ranks):
    """Two ranks, of which the other one always has `theirs`."""

    theirs: float = 0.0

    def largest(self, value: float) -> float:
        return max(value, self.theirs)


def rank_passes(model: Small, theirs: float = 0.0, *, keeps_gradients: bool = False) -> RankPasses:
    passes = Passes(
        spec=model.spec,
        store=ImageStore(model.spec),
        layout="tree",
        row_tokens=100,
        tokens_per_microbatch=200,
    )
    return RankPasses(passes, Others(2, "cpu", theirs), keeps_gradients=keeps_gradients)


@pytest.mark.parametrize(
    ("theirs", "keeps", "learns", "runs"),
    [
        (0.0, False, True, False),  # no rank has an image
        (1.0, False, False, True),  # the other rank has one: its tower waits for ours
        (0.0, True, True, True),  # the engine would keep the step before's gradient
        (0.0, True, False, False),  # no gradient without learning
    ],
)
def test_the_tower_runs_on_every_rank_or_on_none(
    tiny_qwen3vl: Path, theirs: float, keeps: bool, learns: bool, runs: bool
) -> None:
    model = small(tiny_qwen3vl)
    ours = rank_passes(model, theirs, keeps_gradients=keeps)
    trees = [model.tree(1, images=0)]
    assert ours.over(trees, learns=learns).never_without_image == runs
    assert not rank_passes(model, keeps_gradients=True).passes.never_without_image


def test_a_text_only_model_has_no_tower_to_run(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    ours = rank_passes(model, keeps_gradients=True)
    assert not ours.over([model.tree(1)], learns=True).never_without_image


@pytest.mark.parametrize(("busy", "missing"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_idle_passes_fill_up_to_the_busiest_rank(tiny_qwen3: Path, busy: int, missing: int) -> None:
    ours = rank_passes(small(tiny_qwen3), theirs=3)
    idle = ours.idle_batches(ours.passes, busy)
    assert len(idle) == missing
    assert all(len(batch.target_N) == 1 for batch in idle)


def test_idle_passes_run_and_change_no_log_prob(tiny_qwen3vl: Path) -> None:
    """Nor does the tower, which runs on an empty picture."""
    model, calls = small(tiny_qwen3vl), []

    def forward(batch: MicroBatch, *args: Any) -> Tensor:
        calls.append(len(batch.target_N))
        logp_N: Tensor = model.forward(batch)
        return logp_N

    trees = [model.tree(seed, images=0) for seed in range(2)]
    alone = rank_passes(model).logprobs(trees, forward)
    number = len(calls)
    beside = rank_passes(model, theirs=number + 2).logprobs(trees, forward)
    assert len(calls) == 2 * number + 2
    for ours, theirs in zip(alone, beside, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_layouts_are_compared_once(tiny_qwen3: Path) -> None:
    model, calls = small(tiny_qwen3), []

    def forward(batch: MicroBatch) -> Tensor:
        calls.append(batch)
        logp_N: Tensor = model.forward(batch)
        return logp_N

    ours = rank_passes(model)
    ours.check_layouts([model.tree(1)], forward)
    first = len(calls)
    ours.check_layouts([model.tree(2)], forward)
    assert first == len(calls) > 0
