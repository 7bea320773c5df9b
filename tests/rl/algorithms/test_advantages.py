from __future__ import annotations

import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rl.algorithms.advantages import STD_FLOOR, group_advantages, has_no_signal, std_over_step
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.batches import Ranks, Table

REWARDS = st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=8)


def test_group_scale_is_the_unbiased_std() -> None:
    rewards = [1.0, 0.0, 0.0, 0.5]
    mean, std = statistics.mean(rewards), statistics.stdev(rewards)
    expected = [(r - mean) / (std + STD_FLOOR) for r in rewards]
    assert group_advantages(rewards, "group") == pytest.approx(expected)


@given(rewards=REWARDS, shift=st.floats(-10, 10), factor=st.floats(0.1, 10))
def test_a_shift_changes_nothing_and_a_scale_nothing_but_the_floor(
    rewards: list[float | None], shift: float, factor: float
) -> None:
    scored = [r for r in rewards if r is not None]
    assume(len(scored) > 1 and statistics.stdev(scored) > 0.5)
    moved = [None if r is None else factor * r + shift for r in rewards]
    assert group_advantages(moved, "none") == pytest.approx(
        [factor * a for a in group_advantages(rewards, "none")], abs=1e-9
    )
    assert group_advantages(moved, "group") == pytest.approx(
        group_advantages(rewards, "group"), abs=1e-2
    )


@given(rewards=REWARDS, scale=st.sampled_from(["group", "batch", "none"]))
def test_unscored_answers_leave_the_baseline_and_get_nothing(
    rewards: list[float | None], scale: str
) -> None:
    advantages = group_advantages(rewards, scale, 2.0)
    assert all(a == 0 for a, r in zip(advantages, rewards, strict=True) if r is None)
    scored = [r for r in rewards if r is not None]
    alone = iter(group_advantages(scored, scale, 2.0))
    assert advantages == [0.0 if r is None else next(alone) for r in rewards]
    assert sum(advantages) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("rewards", "equal"),
    [
        ([], True),
        ([1.0], True),
        ([None, None], True),
        ([1.0, None], True),
        ([0.1 + 0.2, 0.3], True),  # rounding is no difference
        ([0.5, 0.5, 0.5], True),
        ([0.5, None, 0.6], False),
    ],
)
def test_what_counts_as_equal(rewards: list[float | None], equal: bool) -> None:
    assert has_no_signal(rewards) is equal
    assert (not any(group_advantages(rewards, "group"))) is equal


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_the_std_of_the_step_is_over_all_ranks(cut: int) -> None:
    rewards = [[1.0, 0.0], [3.0, None], [0.5, 0.25]]
    trees = [
        Tree(
            uid=str(i),
            trunk_ids=(i,),
            branches=tuple(
                Branch(uid=f"{i}/{j}", token_ids=(1,), reward=reward)
                for j, reward in enumerate(group)
            ),
        )
        for i, group in enumerate(rewards)
    ]

    class Std:
        def prepare(self, step: object) -> None:
            pass

        def denominators(self, step: object) -> float:
            return std_over_step(step)  # type: ignore[arg-type]

    _, found = Ranks([trees[:cut], trees[cut:]], Table(1), Table(2)).prepare(Std())  # type: ignore[arg-type]
    assert found == pytest.approx([statistics.stdev([1.0, 0.0, 3.0, 0.5, 0.25])] * 2)
