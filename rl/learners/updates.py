"""The updates of one step: how its groups are split into mini-batches, and in which order the step
is prepared and learned from.

A step may update the weights several times on the answers that it sampled. Sampling is the dearest
part of an online step, so each answer is used more than once (`passes`) or for smaller, more
frequent updates (`minibatches`). After the first update the policy is no longer the one that
sampled; the loss then needs `old_logps`, the log-probs under the weights that sampled.

A *group* is one prompt with its answers: one tree. All answers of a group are in one mini-batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from rl.config import Section
from rl.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from rl.algorithms.base import Algorithm
    from rl.data.tree import Tree
    from rl.learners.base import Learner, SamplingDistribution
    from rl.learners.ranks import Ranks

_OF_THE_LAST_UPDATE = ("lr", "loss_scale")
_ADDED_UP = ("tokens/", "time/")


class Updates(Section):
    """A training stage's `updates` section: how many times a step updates the weights.

    TRL calls the two `steps_per_generation` and `num_iterations`. In verl `minibatches` is the
    train batch size over `ppo_mini_batch_size`, and `passes` is `ppo_epochs`.

    >>> Updates(minibatches=2, passes=3).per_step
    6
    """

    minibatches: int = Field(
        1, ge=1, description="Mini-batches that a step's prompts are split into; one update each."
    )
    passes: int = Field(
        1,
        ge=1,
        description="How often a step learns from its answers, split differently each time.",
    )

    @property
    def per_step(self) -> int:
        """The updates of a step in which no mini-batch is empty."""
        return self.minibatches * self.passes


ONE_UPDATE = Updates()


@dataclass(frozen=True)
class Part:
    """The groups that one update learns from.

    uids: those of the groups; None: all groups of the step.
    """

    uids: frozenset[str] | None = None

    def of(self, trees: Sequence[Tree]) -> list[Tree]:
        """Those of the trees that belong to it, in their order."""
        return [tree for tree in trees if self.uids is None or tree.uid in self.uids]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Names a prepared step. The trees themselves stay where they were prepared: each rank keeps
    its own, and only this travels between the driver and the ranks.

    number: counts the steps that a learner has prepared.
    uids: of the groups that are left on all ranks; a group that was dropped is not among them.
    metrics: what the algorithm measured of the whole step, as means over all ranks.
    seconds: how long it took.
    """

    number: int
    uids: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def split(uids: Iterable[str], updates: Updates, seed: str) -> list[Part]:
    """The mini-batches of a step in the order of their updates, pass after pass.

    uids: of the groups that are left; their order has no influence, so any number of ranks makes
        the same mini-batches.
    seed: names the run's seed and the step. Each pass draws an order of its own from it.

    The numbers of groups differ by 1 at most. Where fewer groups than mini-batches are left, the
    empty mini-batches are not among the result, and make no update.

    >>> parts = split(["a", "b", "c"], Updates(minibatches=2, passes=2), seed="0/1")
    >>> [sorted(part.uids or ()) for part in parts]
    [['a'], ['b', 'c'], ['b'], ['a', 'c']]
    """
    parts = []
    for number in range(updates.passes):
        order = sorted(set(uids))
        random.Random(f"{seed}/{number}").shuffle(order)
        edges = [len(order) * i // updates.minibatches for i in range(updates.minibatches + 1)]
        parts += [
            Part(frozenset(order[start:end])) for start, end in pairwise(edges) if start < end
        ]
    return parts


def run_step(
    learner: Learner,
    trees: Sequence[Tree],
    algorithm: Algorithm,
    distribution: SamplingDistribution,
    *,
    updates: Updates,
    seed: str,
) -> dict[str, float]:
    """Prepares the step once, then updates the weights on each of its mini-batches.

    Returns the step's metrics (see `step_metrics`).
    """
    prepared = learner.prepare(trees, algorithm, distribution, needs_old_logps=updates.per_step > 1)
    # Where no group is left, one update over nothing reports the step: it changes no weight.
    parts = split(prepared.uids, updates, seed) or [Part()]
    return step_metrics(prepared, [learner.update(prepared, part) for part in parts], updates)


def step_metrics(
    prepared: Prepared, found: Sequence[Mapping[str, float]], updates: Updates
) -> dict[str, float]:
    """One step's metrics from those of its updates: means over the updates that changed weights,
    but the rate of the last one, and sums of tokens and seconds.

    `updates` counts the updates that changed weights; it is reported only where a step may make
    several.

    >>> one = {"lr": 0.2, "loss": 1.0, "tokens/trained": 10.0, "time/reference_s": 0.0}
    >>> two = {"lr": 0.1, "loss": 3.0, "tokens/trained": 12.0, "time/reference_s": 0.0}
    >>> prepared = Prepared(number=1, uids=("a", "b"), seconds=0.5)
    >>> step_metrics(prepared, [one, two], Updates(minibatches=2))
    {'lr': 0.1, 'loss': 2.0, 'tokens/trained': 22.0, 'time/reference_s': 0.5, 'updates': 2.0}
    """
    changed = [row for row in found if row["tokens/trained"]]
    metrics = {}
    for name in dict.fromkeys(name for row in found for name in row):
        rows = found if name.startswith(_ADDED_UP) else changed or found
        values = [row[name] for row in rows if name in row]
        if not values:  # only an update without a trained token has it
            continue
        if name in _OF_THE_LAST_UPDATE:
            metrics[name] = values[-1]
        else:
            metrics[name] = sum(values) / (1 if name.startswith(_ADDED_UP) else len(values))
    metrics |= prepared.metrics
    metrics["time/reference_s"] += prepared.seconds
    if updates.per_step > 1:
        metrics["updates"] = float(len(changed))
    return metrics


# -- what one rank keeps of a step between `prepare` and its last update


class Logprobs(Protocol):
    """Log-probs of trees without gradient; all ranks call it together."""

    def __call__(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[Tensor]]: ...


class RankStep:
    """rl.algorithms.base.Step on this rank: what an algorithm's `prepare` and `denominators` may
    ask for.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        distribution: SamplingDistribution,
        logprobs: Logprobs,
        ranks: Ranks,
    ) -> None:
        self.trees, self.distribution = list(trees), distribution
        self._logprobs, self._ranks = logprobs, ranks

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> list[list[Tensor]]:
        return self._logprobs(trees, self.distribution, reference=reference)

    def total(self, values: Sequence[float]) -> list[float]:
        return self._ranks.total(values)

    def part(self, trees: Sequence[Tree]) -> RankStep:
        """Some of the step's trees, as a mini-batch."""
        return RankStep(trees, self.distribution, self._logprobs, self._ranks)


@dataclass(frozen=True)
class PreparedStep:
    """A prepared step on this rank: its trees with all that the loss reads, and the algorithm that
    prepared them.
    """

    handle: Prepared
    step: RankStep
    algorithm: Algorithm

    @staticmethod
    def check(current: PreparedStep | None, asked: Prepared) -> PreparedStep:
        """The rank's current step. Raises: ModelError if another one was asked for."""
        if current is None or current.handle.number != asked.number:
            raise ModelError(
                f"step {asked.number} is not the one that was prepared last",
                expected="updates between one call of prepare and the next",
                do="call prepare again before update",
            )
        return current
