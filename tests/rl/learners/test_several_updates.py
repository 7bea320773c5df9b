"""Several updates a step on the real engine: equal to plain torch by hand, and on any ranks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rl.algorithms.advantages import group_advantages, rewards_of
from rl.algorithms.grpo import GRPO
from rl.data.tree import Tree
from rl.errors import ModelError
from rl.learners.base import LearnerConfig, OptimPlan, SamplingDistribution
from rl.learners.schedule import rate
from rl.learners.updates import Part, Prepared, Updates, split
from rl.models.load import file_weights
from tests.rl.learners import zero_child
from tests.rl.learners.processes import Metrics, Ranks, differing, timeless, two_actors
from tests.rl.learners.trajectory import CONFIG, largest_gap
from tests.rl.models.trees import Small, small

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SEVERAL = Updates(minibatches=2, passes=2)
PLAN = OptimPlan(lr=3e-3, total_steps=8, warmup_steps=2, min_lr_ratio=0.1, eps=1e-4)
CLIP = 0.05
ALGORITHM = GRPO(clip_low=CLIP, clip_high=CLIP, mismatch=None, group_size=3)


@pytest.fixture(scope="module")
def steps(tiny_qwen3vl: Path) -> list[list[Tree]]:
    """Two steps of six groups; the rewards of one group of each are equal, and it is dropped."""
    model = small(tiny_qwen3vl)
    return [[group(model, 10 * step + i, is_equal=i == 2) for i in range(6)] for step in range(2)]


def group(model: Small, seed: int, *, is_equal: bool) -> Tree:
    rng = random.Random(seed)
    tree = replace(model.tree(seed), trunk_trained=None)
    rewards = [0.5] * 3 if is_equal else [1.0, 0.0, rng.choice([0.0, 0.5, 1.0])]
    branches = zip(tree.branches, rewards, strict=True)
    return replace(tree, branches=tuple(replace(b, reward=r) for b, r in branches))


@pytest.fixture(scope="module")
def wanted(
    tiny_qwen3vl: Path, steps: list[list[Tree]]
) -> tuple[list[list[float]], list[float], dict[str, Tensor]]:
    """By hand in plain torch: gradient norms of every step's updates, clip fractions, weights."""
    model = Small(tiny_qwen3vl)
    weights = dict(model.model.named_parameters())
    optimizer = torch.optim.AdamW(weights.values(), eps=PLAN.eps, weight_decay=0.0)
    norms, clipped, number = [], [], 0
    for step, trees in enumerate(steps, 1):
        kept = [
            tree.with_column("advantage", group_advantages(rewards_of(tree), "group"))
            for tree in trees
            if len(set(rewards_of(tree))) > 1
        ]
        assert len(kept) == 5
        with torch.no_grad():
            old = by_branch(model, kept)
        shares, of_step = [], []
        for part in split([tree.uid for tree in kept], SEVERAL, f"0/{step}"):
            number += 1
            for weight in weights.values():
                weight.grad = torch.zeros_like(weight)
            loss, share = clipped_loss(model, part.of(kept), old)
            loss.backward()  # type: ignore[no-untyped-call]
            of_step.append(float(torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)))
            for settings in optimizer.param_groups:
                settings["lr"] = rate(PLAN, number)
            optimizer.step()
            shares.append(share)
        norms.append(of_step)
        clipped.append(sum(shares) / len(shares))
    return norms, clipped, file_weights(model.model, weights)


def by_branch(model: Small, trees: Sequence[Tree]) -> dict[str, Tensor]:
    [batch] = model.batches(trees)
    logp_N = model.forward(batch)
    return {branch.uid: logp_N[batch.branch_N == i] for i, branch in enumerate(batch.branches)}


def clipped_loss(
    model: Small, trees: Sequence[Tree], old: dict[str, Tensor]
) -> tuple[Tensor, float]:
    """-min(ratio A, clip(ratio) A) over the mini-batch's tokens, and the share that was clipped."""
    policy = by_branch(model, trees)
    terms, is_clipped = [], []
    for branch in (branch for tree in trees for branch in tree.branches):
        advantage = branch.advantage
        assert advantage is not None
        ratio = (policy[branch.uid] - old[branch.uid]).exp()
        bounded = ratio.clamp(1 - CLIP, 1 + CLIP)
        terms.append(-torch.minimum(ratio * advantage, bounded * advantage))
        outside = (ratio - 1) * (1 if advantage > 0 else -1) > CLIP
        is_clipped.append(outside if advantage else torch.zeros_like(outside))
    return torch.cat(terms).mean(), float(torch.cat(is_clipped).float().mean())


def train(
    ranks: Ranks,
    shares: Sequence[Sequence[Sequence[Tree]]],
    out: Path,
    updates: Updates = SEVERAL,
    **state: Any,
) -> tuple[Metrics, dict[str, Tensor]]:
    """Rank 0's metrics of the steps, and the weights that it published."""
    files = [str(out / f"{rank}.safetensors") for rank in range(len(shares))]
    arguments = [
        (ranks.path, PLAN, steps, ALGORITHM, file)
        for steps, file in zip(shares, files, strict=True)
    ]
    found = ranks.each(zero_child.train, arguments, updates=updates, **state)
    for metrics in found:
        assert [m["loss"] for m in metrics] == [m["loss"] for m in found[0]]
    return found[0], load_file(files[0])


def assert_as_by_hand(found: tuple[Metrics, dict[str, Tensor]], wanted: Any) -> None:
    metrics, weights = found
    norms, clipped, theirs = wanted
    means = [sum(of_step) / len(of_step) for of_step in norms]
    assert [m["grad_norm"] for m in metrics] == pytest.approx(means, rel=1e-4)
    assert [m["clip_frac"] for m in metrics] == pytest.approx(clipped, abs=1e-6)
    assert min(clipped) > 0
    assert [m["lr"] for m in metrics] == [rate(PLAN, 4), rate(PLAN, 8)]  # it counts updates
    assert [m["updates"] for m in metrics] == [4, 4]
    assert largest_gap(weights, theirs) <= 1e-5


def test_one_rank_updates_as_by_hand(
    alone: Ranks, steps: list[list[Tree]], wanted: Any, tmp_path: Path
) -> None:
    alone.start({"zero": 0})
    found = train(alone, [steps], tmp_path)
    assert_as_by_hand(found, wanted)
    # What is trained on twice is counted twice; the group of equal rewards is not trained on.
    kept = [tree.num_trained for tree in steps[0] if len(set(rewards_of(tree))) > 1]
    assert found[0][0]["tokens/trained"] == 2 * sum(kept)


def test_micro_batches_of_a_mini_batch_add_up_to_it(
    alone: Ranks, steps: list[list[Tree]], wanted: Any, tmp_path: Path
) -> None:
    row_by_row = LearnerConfig(**{**CONFIG.model_dump(), "tokens_per_microbatch": 100})
    alone.start({"zero": 1}, row_by_row)
    assert_as_by_hand(train(alone, [steps], tmp_path), wanted)


@pytest.mark.parametrize("zero", [0, 3])
def test_two_ranks_update_as_one(
    pair: Ranks, steps: list[list[Tree]], wanted: Any, tmp_path: Path, zero: int
) -> None:
    """The second rank has one group: it has nothing of every other mini-batch, and runs idle."""
    pair.start({"zero": zero})
    shares = [[trees[:5] for trees in steps], [trees[5:] for trees in steps]]
    assert_as_by_hand(train(pair, shares, tmp_path), wanted)


def test_two_ray_actors_update_as_one(
    tiny_qwen3vl: Path, steps: list[list[Tree]], wanted: Any, tmp_path: Path
) -> None:
    """As a run does: the driver deals the trees once, and names each mini-batch to both ranks."""
    out = tmp_path / "weights.safetensors"
    config = LearnerConfig(**{**CONFIG.model_dump(), "ranks": 2, "zero": 1})
    with two_actors(config, tiny_qwen3vl) as group:
        group.begin_stage(str(tiny_qwen3vl), PLAN, needs_reference=False)
        metrics = [
            dict(
                group.step(
                    trees, ALGORITHM, SamplingDistribution(), updates=SEVERAL, seed=f"0/{step}"
                )
            )
            for step, trees in enumerate(steps, 1)
        ]
        group.publish(str(out))
    assert_as_by_hand((metrics, load_file(out)), wanted)


def test_a_stage_resumes_between_steps_in_the_same_bits(
    alone: Ranks, steps: list[list[Tree]], tmp_path: Path
) -> None:
    """The saved state counts updates, so the rate continues where it was."""
    alone.start({"zero": 1})
    whole, weights = train(alone, [steps], tmp_path)
    state = str(tmp_path / "state")
    first, _ = train(alone, [steps[:1]], tmp_path, saved=state)
    second, resumed = train(alone, [steps[1:]], tmp_path, taken_up=state, first_step=2)
    assert [timeless(row) for row in first + second] == [timeless(row) for row in whole]
    assert differing(resumed, weights) == []


def test_one_update_is_prepare_and_update_in_the_same_bits(
    alone: Ranks, steps: list[list[Tree]], tmp_path: Path
) -> None:
    alone.start({"zero": 0})
    [row], weights = train(alone, [steps[:1]], tmp_path, updates=Updates())
    assert row["clip_frac"] == 0  # without old log-probs the ratio is 1
    assert "updates" not in row
    train(alone, [[]], tmp_path)
    call = zero_child.call
    [prepared] = alone.each(call, [("prepare", steps[0], ALGORITHM, SamplingDistribution())])
    [metrics] = alone.each(call, [("update", prepared, Part())])
    alone.each(call, [("publish", str(tmp_path / "w.safetensors"))])
    assert timeless(dict(metrics)) == timeless(row)
    assert differing(load_file(tmp_path / "w.safetensors"), weights) == []


def test_mini_batches_without_a_group_make_no_update(
    alone: Ranks, steps: list[list[Tree]], tmp_path: Path
) -> None:
    alone.start({"zero": 0})
    [row], _ = train(alone, [[steps[0][:4]]], tmp_path, updates=Updates(minibatches=5))
    assert row["updates"] == 3  # of four groups one is dropped
    assert row["lr"] == rate(PLAN, 3)


def test_another_steps_handle_is_refused(
    alone: Ranks, steps: list[list[Tree]], tmp_path: Path
) -> None:
    alone.start({"zero": 0})
    train(alone, [steps[:1]], tmp_path)
    with pytest.raises(ModelError, match="step 7 is not the one that was prepared last"):
        alone.each(zero_child.call, [("update", Prepared(number=7, uids=()), Part())])
