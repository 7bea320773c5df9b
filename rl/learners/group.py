"""The learner's ranks as one: deals trees to them by cost, waits with deadlines, puts answers
back in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl.algorithms.base import Algorithm
from rl.data.tree import Tree
from rl.learners.base import Channel, LogitView, OptimPlan
from rl.runtime.actors import Handle


class LearnerGroup:
    """Implements rl.learners.base.Learner over one handle a rank. `deadline_s` bounds every
    wait."""

    def __init__(self, ranks: Sequence[Handle], *, deadline_s: float) -> None:
        self.ranks: list[Handle] = list(ranks)
        self.deadline_s = deadline_s

    def begin_stage(self, checkpoint: str, plan: OptimPlan, *, needs_reference: bool) -> None:
        self._all("begin_stage", checkpoint, plan, needs_reference=needs_reference)

    def step(
        self, trees: Sequence[Tree], algorithm: Algorithm, view: LogitView
    ) -> Mapping[str, float]:
        hands = deal(trees, len(self.ranks))
        pending = [
            rank.submit("step", [trees[i] for i in hand], algorithm, view)
            for rank, hand in zip(self.ranks, hands, strict=True)
        ]
        answers = [call.result(self.deadline_s) for call in pending]
        metrics: Mapping[str, float] = answers[0]
        return metrics

    def logprobs(
        self, trees: Sequence[Tree], view: LogitView, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        hands = deal(trees, len(self.ranks))
        pending = [
            rank.submit("logprobs", [trees[i] for i in hand], view, reference=reference)
            for rank, hand in zip(self.ranks, hands, strict=True)
        ]
        found: list[list[tuple[float, ...]]] = [[] for _ in trees]
        for hand, call in zip(hands, pending, strict=True):
            for index, value in zip(hand, call.result(self.deadline_s), strict=True):
                found[index] = value
        return found

    def publish(self, path: str) -> None:
        self._all("publish", path)

    def connect(self, channel: Channel) -> None:
        """Every rank opens the channel to the rollout workers."""
        self._all("connect", channel)

    def send(self) -> None:
        """The weights go through the open channel."""
        self._all("send")

    def save(self, folder: str) -> None:
        self._all("save", folder)

    def save_state(self, folder: str) -> None:
        self._all("save_state", folder)

    def load_state(self, folder: str) -> None:
        self._all("load_state", folder)

    def _all(self, method: str, *args: Any, **kwargs: Any) -> None:
        for call in [rank.submit(method, *args, **kwargs) for rank in self.ranks]:
            call.result(self.deadline_s)


def deal(trees: Sequence[Tree], num_ranks: int) -> list[list[int]]:
    """Indices of the trees for each rank: the costliest first to the rank with the least so
    far, then in the order given."""
    if num_ranks == 1:
        return [list(range(len(trees)))]
    load, hands = [0] * num_ranks, [[] for _ in range(num_ranks)]  # type: list[int], list[list[int]]
    for index in sorted(range(len(trees)), key=lambda i: (-trees[i].num_tokens, i)):
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        load[rank] += trees[index].num_tokens
        hands[rank].append(index)
    return [sorted(hand) for hand in hands]
