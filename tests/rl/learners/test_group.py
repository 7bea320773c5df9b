import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.data.tree import Branch, Tree
from rl.learners.base import LogitView
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
        self, trees: list[Tree], view: LogitView, *, reference: bool
    ) -> list[list[tuple[float, ...]]]:
        return [[(float(t.branches[0].token_ids[0]),)] for t in trees]


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=20), ranks=st.integers(1, 3))
def test_answers_come_back_in_the_order_asked(sizes: list[int], ranks: int) -> None:
    group = LearnerGroup([LocalHandle(f"learner-{r}", _Rank()) for r in range(ranks)], deadline_s=1)
    trees = [tree(index, size) for index, size in enumerate(sizes)]
    assert group.logprobs(trees, LogitView()) == [[(float(i),)] for i in range(len(trees))]


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
