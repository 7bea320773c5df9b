"""All ranks of a learner as one learner: trees are dealt to the ranks by cost, every wait has a
deadline, and results come back in the order of the trees.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rl.algorithms.base import Algorithm
from rl.data.tree import Tree
from rl.errors import DeadlineError
from rl.learners.base import Channel, OptimPlan, SamplingDistribution
from rl.learners.updates import ONE_UPDATE, Part, Prepared, Updates, run_step
from rl.runtime.actors import Handle, Pending

# With several ranks: how long one rank is waited for before the next one is looked at.
_POLL_S = 0.05


class LearnerGroup:
    """Implements rl.learners.base.Learner over one actor handle for each rank:

        learner = LearnerGroup(handles, deadline_s=1800)
        learner.begin_stage(checkpoint, plan, needs_reference=False)  # waits for every rank
        metrics = learner.step(trees, algorithm, distribution)        # each rank gets a share

    `deadline_s` bounds every wait. An error of one rank is raised at once, without waiting for the
    others: they may be inside a collective that waits for that rank for ever.
    """

    def __init__(self, ranks: Sequence[Handle], *, deadline_s: float) -> None:
        self.ranks: list[Handle] = list(ranks)
        self.deadline_s = deadline_s

    def begin_stage(self, checkpoint: str, plan: OptimPlan, *, needs_reference: bool) -> None:
        self._all("begin_stage", checkpoint, plan, needs_reference=needs_reference)

    def step(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        updates: Updates = ONE_UPDATE,
        seed: str = "",
    ) -> Mapping[str, float]:
        if updates.per_step > 1:  # each call has a deadline of its own
            return run_step(self, trees, algorithm, distribution, updates=updates, seed=seed)
        # One call in place of two: a call to an actor costs some 10 ms.
        metrics: Mapping[str, float] = self._dealt("step", trees, algorithm, distribution)[0]
        return metrics

    def prepare(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        needs_old_logps: bool = False,
    ) -> Prepared:
        prepared: Prepared = self._dealt(
            "prepare", trees, algorithm, distribution, needs_old_logps=needs_old_logps
        )[0]
        return prepared

    def update(self, prepared: Prepared, part: Part) -> Mapping[str, float]:
        # Every rank is called, also one that has no group of this part: it runs idle passes.
        metrics: Mapping[str, float] = self._all("update", prepared, part)[0]
        return metrics

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        shares = deal(trees, len(self.ranks))
        pending = [
            rank.submit("logprobs", [trees[i] for i in share], distribution, reference=reference)
            for rank, share in zip(self.ranks, shares, strict=True)
        ]
        found: list[list[tuple[float, ...]]] = [[] for _ in trees]
        for share, values in zip(shares, self._answers(pending), strict=True):
            for index, value in zip(share, values, strict=True):
                found[index] = value
        return found

    def publish(self, path: str) -> None:
        self._all("publish", path)

    def connect(self, channel: Channel) -> None:
        """Opens the channel to the rollout workers on every rank."""
        self._all("connect", channel)

    def send(self) -> None:
        """Sends the weights through the open channel."""
        self._all("send")

    def save(self, folder: str) -> None:
        self._all("save", folder)

    def save_state(self, folder: str) -> None:
        self._all("save_state", folder)

    def load_state(self, folder: str) -> None:
        self._all("load_state", folder)

    def lost(self, patience_s: float) -> list[str]:
        """Names of the ranks whose process is gone.

        If none is known to be gone, the ranks that do not answer are waited for, `patience_s` for
        all of them together: they are busy, or Ray does not know yet that their node is lost.
        """
        gone = [rank.name for rank in self.ranks if not rank.is_alive(0.0)]
        if gone or not patience_s:
            return gone
        ends = time.monotonic() + patience_s
        return [r.name for r in self.ranks if not r.is_alive(max(0.0, ends - time.monotonic()))]

    def _all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        return self._answers([rank.submit(method, *args, **kwargs) for rank in self.ranks])

    def _dealt(self, method: str, trees: Sequence[Tree], *args: Any, **kwargs: Any) -> list[Any]:
        """Calls the method of every rank with its share of the trees."""
        return self._answers(
            [
                rank.submit(method, [trees[i] for i in share], *args, **kwargs)
                for rank, share in zip(self.ranks, deal(trees, len(self.ranks)), strict=True)
            ]
        )

    def _answers(self, calls: Sequence[Pending]) -> list[Any]:
        """Every rank's result, in the order of the ranks. Raises: the first error of any rank.

        The ranks are looked at in turns, a moment each: waiting for rank 0 to its end would hide
        the error of rank 1 for which rank 0 waits.
        """
        answers: list[Any] = [None] * len(calls)
        waiting = deque(range(len(calls)))
        ends = time.monotonic() + self.deadline_s
        while waiting:
            place = waiting.popleft()
            started = time.monotonic()
            left = max(0.0, ends - started)
            patience = min(left, _POLL_S) if waiting else left
            try:
                answers[place] = calls[place].result(patience)
            except DeadlineError as error:
                now = time.monotonic()
                if now - started < patience / 2:
                    # Far too early to be the end of this wait: the rank itself ran into a deadline.
                    raise
                if now >= ends:
                    raise DeadlineError(
                        f"no answer within {self.deadline_s:g} s", where=error.where, do=error.do
                    ) from None
                waiting.append(place)
        return answers


def deal(trees: Sequence[Tree], num_ranks: int) -> list[list[int]]:
    """Indices of the trees for each rank, so that the ranks have about equally many tokens.

    The longest tree goes first, always to the rank with the fewest tokens so far; each rank's trees
    stay in the order in which they came. The result depends on nothing but lengths and order, so a
    step can be repeated exactly.
    """
    if num_ranks == 1:
        return [list(range(len(trees)))]
    load = [0] * num_ranks  # tokens
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    for index in sorted(range(len(trees)), key=lambda i: (-trees[i].num_tokens, i)):
        rank = min(range(num_ranks), key=lambda r: (load[r], r))
        load[rank] += trees[index].num_tokens
        shares[rank].append(index)
    return [sorted(share) for share in shares]
