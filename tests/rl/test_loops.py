from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from rl.data.tree import Branch, Tree
from rl.learners.base import Learner, SamplingDistribution
from rl.loops import LoopPlan, batches, drawn, with_references


@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 50),
    steps=st.integers(1, 30),
    seed=st.integers(0, 5),
)
def test_an_epoch_is_each_record_exactly_once(size: int, batch: int, steps: int, seed: int) -> None:
    plan = LoopPlan(num_steps=steps, prompts_per_step=batch, seed=seed)
    drawn = [record for _, _, chosen in batches(list(range(size)), plan) for record in chosen]
    assert len(drawn) == steps * batch
    for start in range(0, len(drawn) - size + 1, size):
        assert Counter(drawn[start : start + size]) == Counter(range(size))


@given(start=st.integers(0, 9), seed=st.integers(0, 3))
def test_a_loop_that_starts_later_sees_the_same_batches(start: int, seed: int) -> None:
    records = list(range(17))
    whole = list(batches(records, LoopPlan(num_steps=10, prompts_per_step=4, seed=seed)))
    rest = list(
        batches(records, LoopPlan(num_steps=10, prompts_per_step=4, seed=seed, start_step=start))
    )
    assert rest == whole[start:]


def test_seeds_give_other_orders() -> None:
    records = list(range(50))
    orders = [
        next(batches(records, LoopPlan(num_steps=1, prompts_per_step=50, seed=seed)))[2]
        for seed in range(3)
    ]
    assert orders[0] != orders[1] != orders[2]


@given(size=st.integers(12, 40), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_step_across_epochs_asks_no_prompt_twice(size: int, width: int, seed: int) -> None:
    steps = 3 * size // width
    plan = LoopPlan(num_steps=steps, prompts_per_step=width, seed=seed)
    chosen = [part for _, _, part in batches(list(range(size)), plan, distinct=True)]
    assert all(len(set(part)) == width for part in chosen)
    drawn = [record for part in chosen for record in part]
    for epoch in range(len(drawn) // size):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == list(range(size))
    later = LoopPlan(num_steps=steps, prompts_per_step=width, seed=seed, start_step=steps // 2)
    again = [part for _, _, part in batches(list(range(size)), later, distinct=True)]
    assert again == chosen[steps // 2 :]


class Scores:
    """A learner that counts which trees it is asked about: -1 for each token."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        self.calls.append([tree.uid for tree in trees])
        return [[(-1.0,) * len(b.token_ids) for b in tree.branches] for tree in trees]


@given(
    size=st.integers(1, 30),
    width=st.integers(1, 9),
    steps=st.integers(1, 9),
    start=st.integers(0, 8),
    seed=st.integers(0, 9),
)
def test_only_trees_that_are_trained_get_references(
    size: int, width: int, steps: int, start: int, seed: int
) -> None:
    """All that any step holds, and the same calls wherever the stage continues: another packing
    would round the log-probs in another way.
    """
    trees = [
        Tree(uid=str(i), trunk_ids=(i,), branches=(Branch(uid=f"{i}/0", token_ids=(7, 8)),))
        for i in range(size)
    ]
    plan = LoopPlan(num_steps=steps, prompts_per_step=width, seed=seed)
    learner, later = Scores(), Scores()
    found = with_references(cast(Learner, learner), trees, plan, chunk=4)
    with_references(
        cast(Learner, later), trees, replace(plan, start_step=min(start, steps)), chunk=4
    )
    assert later.calls == learner.calls
    assert [tree.uid for tree in found] == [tree.uid for tree in trees]
    trained = {tree.uid for _, _, chosen in batches(trees, plan) for tree in chosen}
    assert {tree.uid for tree in found if tree.branches[0].reference_logps == (-1, -1)} == trained
    assert sorted(uid for call in learner.calls for uid in call) == sorted(trained)
    assert drawn(size, plan) == sorted(int(uid) for uid in trained)
