import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.data.tree import Branch, Tree
from rl.errors import DataError, DeadlineError
from rl.learners.base import SamplingDistribution
from rl.learners.environment import local_rank
from rl.learners.group import LearnerGroup, deal
from rl.runtime.actors import LocalHandle


def tree(index: int, size: int) -> Tree:
    return Tree(
        uid=str(index),
        trunk_ids=(1,) * size,
        branches=(Branch(uid=str(index), token_ids=(index,)),),
    )


@given(sizes=st.lists(st.integers(1, 100), max_size=30), ranks=st.integers(1, 4))
def test_every_tree_goes_to_one_rank_and_ranks_are_level(sizes: list[int], ranks: int) -> None:
    trees = [tree(index, size) for index, size in enumerate(sizes)]
    hands = deal(trees, ranks)
    assert sorted(index for hand in hands for index in hand) == list(range(len(trees)))
    loads = [sum(trees[index].num_tokens for index in hand) for hand in hands]
    assert max(loads) - min(loads) <= (max(t.num_tokens for t in trees) if trees else 0)


class _Rank:
    def logprobs(
        self, trees: list[Tree], distribution: SamplingDistribution, *, reference: bool
    ) -> list[list[tuple[float, ...]]]:
        return [[(float(t.branches[0].token_ids[0]),)] for t in trees]


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=20), ranks=st.integers(1, 3))
def test_answers_come_back_in_the_order_asked(sizes: list[int], ranks: int) -> None:
    group = LearnerGroup([LocalHandle(f"learner-{r}", _Rank()) for r in range(ranks)], deadline_s=1)
    trees = [tree(index, size) for index, size in enumerate(sizes)]
    assert group.logprobs(trees, SamplingDistribution()) == [
        [(float(i),)] for i in range(len(trees))
    ]


class _Failing:
    """A rank whose calls raise."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def publish(self, path: str) -> None:
        raise self.error

    def logprobs(
        self, trees: list[Tree], distribution: SamplingDistribution, *, reference: bool
    ) -> None:
        raise self.error


class _Waiting:
    """A handle on a rank that waits for another in a collective: no call of it ends."""

    def __init__(self, name: str, *, lives: bool = True) -> None:
        self.name, self.lives = name, lives
        self.patience: list[float] = []

    def submit(self, method: str, *args: Any, **kwargs: Any) -> "_Waiting":
        return self

    def result(self, deadline_s: float) -> Any:
        time.sleep(deadline_s)
        raise DeadlineError(f"no answer within {deadline_s:g} s", where=f"{self.name} in publish")

    def is_alive(self, patience_s: float = 1.0) -> bool:
        self.patience.append(patience_s)
        return self.lives


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_ranks_error_is_raised_while_the_others_wait_for_it(failing: int) -> None:
    """In whatever place: not the deadline of a rank that waits in a collective."""
    error = DataError("truncated image", where="rl.jsonl:7")
    ranks: list[Any] = [_Waiting(f"learner-{rank}") for rank in range(3)]
    ranks[failing] = LocalHandle(f"learner-{failing}", _Failing(error))
    group = LearnerGroup(ranks, deadline_s=100)
    with pytest.raises(DataError, match="truncated image"):
        group.publish("weights")
    with pytest.raises(DataError, match="truncated image"):
        group.logprobs([tree(index, 3) for index in range(4)], SamplingDistribution())


def test_a_ranks_own_deadline_is_raised_at_once() -> None:
    """Not taken for the end of a glance at a rank that works."""
    error = DeadlineError("no answer within 5 s", where="rollout-0 in update_weights")
    failing = LocalHandle("learner-0", _Failing(error))
    group = LearnerGroup([failing, _Waiting("learner-1")], deadline_s=100)
    with pytest.raises(DeadlineError, match="rollout-0 in update_weights: no answer within 5 s"):
        group.publish("weights")


def test_ranks_that_are_silent_end_at_the_deadline() -> None:
    ranks = [_Waiting("learner-0"), _Waiting("learner-1")]
    with pytest.raises(DeadlineError, match=r"learner-\d in publish: no answer within 0.2 s"):
        LearnerGroup(ranks, deadline_s=0.2).publish("weights")


def test_a_lost_rank_is_found_without_patience_for_those_that_are_busy() -> None:
    ranks = [_Waiting("learner-0"), _Waiting("learner-1", lives=False)]
    assert LearnerGroup(ranks, deadline_s=1).lost(30.0) == ["learner-1"]
    assert [rank.patience for rank in ranks] == [[0.0], [0.0]]


def test_patience_is_shared_by_the_ranks() -> None:
    ranks = [_Waiting("learner-0"), _Waiting("learner-1")]
    assert LearnerGroup(ranks, deadline_s=1).lost(30.0) == []
    assert all(first == 0.0 and 0.0 < then <= 30.0 for first, then in (r.patience for r in ranks))


class _Sending:
    def __init__(self, rank: int, log: list[tuple[int, str]]) -> None:
        self.rank, self.log = rank, log

    def connect(self, channel: str) -> None:
        self.log.append((self.rank, channel))

    def send(self) -> None:
        self.log.append((self.rank, "send"))


def test_every_rank_connects_and_sends() -> None:
    """They gather together: a rank that were left out would leave the others waiting."""
    log: list[tuple[int, str]] = []
    ranks = [LocalHandle(f"learner-{r}", _Sending(r, log)) for r in range(3)]
    group = LearnerGroup(ranks, deadline_s=1)
    group.connect("channel")
    group.send()
    assert log == [(r, "channel") for r in range(3)] + [(r, "send") for r in range(3)]


@pytest.mark.parametrize(
    ("visible", "ranks", "local"), [(0, 3, [0, 1, 2]), (1, 3, [0, 0, 0]), (2, 4, [0, 1, 0, 1])]
)
def test_a_rank_takes_a_gpu_that_its_process_sees(
    monkeypatch: pytest.MonkeyPatch, visible: int, ranks: int, local: list[int]
) -> None:
    """Ray shows an actor its own GPU alone: that is number 0, whatever the rank."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: visible)
    assert [local_rank(rank) for rank in range(ranks)] == local
