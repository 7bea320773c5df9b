"""Numbers that the learner's ranks add up or compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rl.algorithms.base import Loss
from rl.batch import MicroBatch
from rl.data.pack import Plan


@dataclass(frozen=True)
class Ranks:
    """The ranks of torch's process group. Every call waits for all ranks; all make the same calls:

        ranks = Ranks(world_size=2, device="cpu")
        ranks.total([3.0, 1.0])              # [sum over ranks, sum over ranks]
        ranks.means({"loss": (6.0, 3)})      # sums and counts are added up, then divided

    `device` is where the group's backend needs its tensors: "cpu" for gloo, "cuda" for nccl.
    """

    world_size: int
    device: str

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value's sum over the ranks, in float64."""
        return self._reduced(values, torch.distributed.ReduceOp.SUM)

    def largest(self, value: float) -> float:
        """The largest value of any rank."""
        return self._reduced([value], torch.distributed.ReduceOp.MAX)[0]

    def gather(self, mine: Any) -> list[Any]:
        """Every rank's object, in the order of the ranks."""
        if self.world_size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(everyone, mine)
        return everyone

    def means(self, sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Means over all ranks of (sum, count) pairs by name. A rank may lack a name that others
        have; a name whose count is 0 everywhere has no mean and is left out.
        """
        everyone = self.gather(dict(sums))
        means = {}
        for name in sorted({name for one in everyone for name in one}):
            pairs = [one[name] for one in everyone if name in one]
            total, count = (sum(column) for column in zip(*pairs, strict=True))
            if count:
                means[name] = total / count
        return means

    def _reduced(self, values: Sequence[float], operation: Any) -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world_size > 1:
            torch.distributed.all_reduce(numbers, op=operation)
        return [float(number) for number in numbers.tolist()]


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
