from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rl.algorithms.advantages import group_advantages, rewards_of
from rl.algorithms.base import Denominators, exp_ratio
from rl.algorithms.grpo import GRPO, k3_N
from rl.algorithms.mismatch import Mismatch
from rl.batch import TreeBatch
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.batches import OneRank, Table, collate

ONE = Denominators(tokens=1, branches=1, pairs=0)
TRUSTED = {"mismatch": None}


def group(
    uid: str, rewards: list[float | None], truncated: tuple[int, ...] = (), length: int = 3
) -> Tree:
    return Tree(
        uid=uid,
        trunk_ids=(ord(uid),),
        branches=tuple(
            Branch(
                uid=f"{uid}/{i}",
                token_ids=tuple(range(length)),
                reward=reward,
                is_truncated=i in truncated,
                columns={"behavior_logps": (-1.0,) * length},
            )
            for i, reward in enumerate(rewards)
        ),
    )


def prepare(algorithm: GRPO, *trees: Tree) -> tuple[OneRank, Denominators]:
    step = OneRank(list(trees), Table(1), Table(2))
    algorithm.prepare(step)
    return step, algorithm.denominators(step)


def test_equal_groups_are_dropped() -> None:
    step, denominators = prepare(
        GRPO(**TRUSTED), group("a", [1.0, 0.0]), group("b", [1.0, 1.0]), group("c", [0.5, None])
    )
    assert [tree.uid for tree in step.trees] == ["a"]
    assert (denominators.tokens, denominators.branches) == (6, 2)
    assert not denominators.metrics  # rollouts.collect counts them, for every algorithm


def test_equal_groups_can_be_kept_with_no_advantage() -> None:
    step, denominators = prepare(
        GRPO(drop_equal_groups=False), group("a", [1.0, 0.0]), group("b", [1.0, 1.0])
    )
    assert denominators.tokens == 12
    assert [b.advantage for b in step.trees[1].branches] == [0.0, 0.0]


def test_truncated_answers_leave_the_loss_but_not_the_baseline() -> None:
    step, denominators = prepare(GRPO(scale="none"), group("a", [1.0, 0.0, 0.5], truncated=(1,)))
    assert [b.uid for b in step.trees[0].branches] == ["a/0", "a/2"]
    assert [b.advantage for b in step.trees[0].branches] == pytest.approx([0.5, 0.0])
    assert denominators.tokens == 6
    kept, _ = prepare(GRPO(train_truncated=True), group("a", [1.0, 0.0], truncated=(0, 1)))
    assert len(kept.trees[0].branches) == 2


def test_a_group_of_truncated_answers_leaves_nothing() -> None:
    step, denominators = prepare(GRPO(), group("a", [1.0, 0.0], truncated=(0, 1)))
    assert step.trees == []
    assert denominators.tokens == 0


def test_unscored_answers_stay_in_the_denominator_without_advantage() -> None:
    step, denominators = prepare(GRPO(scale="none"), group("a", [1.0, None, 0.0]))
    assert [b.advantage for b in step.trees[0].branches] == [0.5, 0.0, -0.5]
    assert denominators.tokens == 9


@pytest.mark.parametrize("own", [{}, {"scale": "none"}, {"drop_equal_groups": False}])
def test_advantages_that_are_there_give_the_same_gradient(own: dict[str, Any]) -> None:
    """A script computes them with `group_advantages` before the learner's step, a recipe leaves it
    to `prepare`: both are one step."""
    algorithm = GRPO(**TRUSTED, **own)
    groups = [
        group("a", [1.0, 0.0, None], truncated=(1,)),
        group("b", [1.0, 1.0]),
        group("c", [0.25, 0.5, 0.0]),
    ]
    given = [
        tree.with_column("advantage", group_advantages(rewards_of(tree), algorithm.scale))
        for tree in groups
    ]
    found = []
    for trees in (groups, given):
        policy = Table(1)
        step = OneRank(list(trees), policy, Table(2))
        algorithm.prepare(step)
        denominators = algorithm.denominators(step)
        loss = algorithm.loss(collate(step.trees, policy(step.trees)), denominators)
        loss.value.backward()
        found.append((denominators, loss.value.item(), policy.gradient()))
    (first, value, gradient), (second, other, others) = found
    assert first == second
    assert value == other
    assert gradient.keys() == others.keys()
    assert all(torch.equal(gradient[key], others[key]) for key in gradient)
    assert any(float(leaf.abs().sum()) > 0 for leaf in gradient.values())


def test_advantages_of_ones_own_are_kept() -> None:
    tree = group("a", [1.0, 1.0]).with_column("advantage", [0.25, -0.75])
    step, _ = prepare(GRPO(), tree)
    assert [branch.advantage for branch in step.trees[0].branches] == [0.25, -0.75]


@pytest.mark.parametrize("difference", [-1e4, -60.0, 60.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_a_log_ratio_beyond_every_bound_gives_finite_numbers(
    difference: float, advantage: float
) -> None:
    """exp(1e4) is infinite, and infinity times 0 would make the whole step NaN."""
    batch = batch_of([difference], [advantage])
    loss = GRPO(**TRUSTED).loss(batch, ONE)
    loss.value.backward()
    assert torch.isfinite(loss.value)
    assert torch.isfinite(batch.policy_logp_N.grad).all()


def test_in_the_normal_range_the_clamp_changes_nothing() -> None:
    log_ratio_N = torch.linspace(-19.9, 19.9, 101, dtype=torch.float64)
    assert torch.equal(exp_ratio(log_ratio_N), log_ratio_N.exp())


def test_references_are_asked_only_for_the_kl_term() -> None:
    without, _ = prepare(GRPO(), group("a", [1.0, 0.0]))
    assert without.reference_calls == 0
    assert not GRPO().needs.reference
    with_kl, _ = prepare(GRPO(kl_coef=0.1), group("a", [1.0, 0.0]))
    assert with_kl.reference_calls == 1
    assert GRPO(kl_coef=0.1).needs.reference


def batch_of(log_ratio: list[float], advantage: list[float], **columns: Any) -> TreeBatch:
    """One token a branch, old log-probs -1."""
    policy_N = torch.tensor(log_ratio, dtype=torch.float64) - 1
    return TreeBatch(
        policy_logp_N=policy_N.requires_grad_(),
        branch_N=torch.arange(len(log_ratio)),
        num_branches=len(log_ratio),
        columns={
            "old_logps": torch.full_like(policy_N, -1.0).detach(),
            "advantage": torch.tensor(advantage, dtype=torch.float64),
            **columns,
        },
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "moves"),
    [
        (1.0, 1.0, 1.0, True),
        (1.5, 1.0, 1.28, False),  # clipped above
        (0.5, 1.0, 0.5, True),
        (0.5, -1.0, -0.8, False),  # clipped below
        (1.5, -1.0, -1.5, True),
        (9.0, -1.0, -4.0, False),  # delta: the upper limit where A < 0
    ],
)
def test_the_clip(ratio: float, advantage: float, gain: float, moves: bool) -> None:
    batch = batch_of([float(torch.tensor(ratio).double().log())], [advantage])
    loss = GRPO(delta=4.0, **TRUSTED).loss(batch, ONE)
    loss.value.backward()
    assert loss.value.item() == pytest.approx(-gain)
    assert bool(batch.policy_logp_N.grad.abs() > 0) is moves


def test_without_old_log_probs_the_ratio_is_one_and_the_gradient_the_policy_s() -> None:
    batch = batch_of([0.3, -0.3], [2.0, -1.0])
    batch = replace(batch, columns={"advantage": batch.advantage_B})
    loss = GRPO(**TRUSTED).loss(batch, ONE)
    loss.value.backward()
    assert loss.value.item() == pytest.approx(-1.0)
    assert batch.policy_logp_N.grad.tolist() == pytest.approx([-2.0, 1.0])


@given(st.floats(-30, 30))
def test_k3_is_never_negative_and_finite(difference: float) -> None:
    reference_N = torch.tensor([-1.0 - difference], dtype=torch.float64)
    batch = batch_of([0.0], [0.0], reference_logps=reference_N)
    k3 = k3_N(batch).item()
    assert 0 <= k3 < 1e9
    if difference == 0:
        assert k3 == 0


def mismatch_batch(log_w: list[float], branch: list[int]) -> TreeBatch:
    """log w = old - behaviour on each token; old = -1."""
    old_N = torch.full((len(log_w),), -1.0, dtype=torch.float64)
    return TreeBatch(
        policy_logp_N=old_N.clone().requires_grad_(),
        branch_N=torch.tensor(branch),
        num_branches=max(branch) + 1,
        columns={
            "behavior_logps": old_N - torch.tensor(log_w, dtype=torch.float64),
            "advantage": torch.ones(max(branch) + 1, dtype=torch.float64),
        },
    )


def test_the_sequence_mask_is_on_the_geometric_mean() -> None:
    """Token ratios may be far from one where their mean is not."""
    batch = mismatch_batch([0.5, -0.5, 0.1, 0.1], [0, 0, 1, 1])
    weight_N = Mismatch(token_limit=1.2).weight_N(batch, batch.policy_logp_N.detach())
    low = float(torch.tensor(-0.5).double().exp())
    assert weight_N.tolist() == pytest.approx([1.2, low, 0.0, 0.0])


def test_masked_branches_stay_in_the_denominator_and_keep_their_kl() -> None:
    batch = mismatch_batch([0.0, 0.3], [0, 1])
    loss = GRPO().loss(batch, Denominators(tokens=2, branches=2, pairs=0))
    loss.value.backward()
    assert batch.policy_logp_N.grad.tolist() == pytest.approx([-0.5, 0.0])
    assert loss.metrics["mismatch/masked"] == (1.0, 2.0)


def test_a_missing_behavior_log_prob_counts_as_no_mismatch() -> None:
    batch = mismatch_batch([float("nan")], [0])
    weight_N = Mismatch().weight_N(batch, batch.policy_logp_N.detach())
    assert weight_N.tolist() == [1.0]


def test_equal_engine_and_learner_need_no_correction() -> None:
    step, denominators = prepare(GRPO(), group("a", [1.0, 0.0]))
    policy = [[torch.full((3,), -1.0, requires_grad=True) for _ in range(2)]]
    batch = collate(step.trees, policy)
    plain = GRPO(**TRUSTED).loss(batch, denominators)
    assert GRPO().loss(batch, denominators).value.item() == plain.value.item()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"normalise": "dr_grpo"}, "needs one"),
        ({"length_limit": 8}, "belongs to normalise"),
        ({"delta": 1.1}, "above 1 \\+ clip_high"),
        ({"clip_hgih": 0.3}, "clip_hgih"),
        ({"group_size": 0}, "group_size"),
    ],
)
def test_settings_that_cannot_be_meant(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GRPO(**own)
