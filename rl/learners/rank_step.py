"""What one rank keeps of a step between `prepare` and the last update, and what it adds up over the
micro-batches of an update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from rl.algorithms.base import Algorithm, Loss
from rl.batch import MicroBatch
from rl.data.pack import Plan
from rl.data.tree import Tree
from rl.errors import ModelError
from rl.learners.base import SamplingDistribution
from rl.learners.ranks import Ranks
from rl.learners.updates import Prepared


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


@dataclass
class Sums:
    """What an update adds up over this rank's micro-batches:

    sums = Sums(metrics={})
    sums.add(batch, plan, loss)     # for each micro-batch
    metrics = sums.over(ranks)      # waits for all ranks
    """

    metrics: Mapping[str, tuple[float, float]]
    loss: float = 0.0
    trained: float = 0.0
    forward: float = 0.0
    padded: float = 0.0
    _pairs: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pairs = {name: list(pair) for name, pair in self.metrics.items()}

    def add(self, batch: MicroBatch, plan: Plan, loss: Loss) -> None:
        """One micro-batch: its metrics, its share of the loss, and its tokens."""
        for name, (total, count) in loss.metrics.items():
            so_far = self._pairs.setdefault(name, [0.0, 0.0])
            so_far[0], so_far[1] = so_far[0] + total, so_far[1] + count
        self.trained += len(batch.target_N)
        self.forward += plan.num_tokens
        self.padded += plan.shape[0] * plan.shape[1] - plan.num_tokens
        self.loss += float(loss.value.detach())

    def over(self, ranks: Ranks) -> dict[str, float]:
        """Metrics of all ranks."""
        metrics = ranks.means(self._pairs)
        loss, trained, forward, padded = ranks.total(
            [self.loss, self.trained, self.forward, self.padded]
        )
        return metrics | {
            "loss": loss,
            "tokens/trained": trained,
            "tokens/forward": forward,
            "tokens/padded": padded,
        }
