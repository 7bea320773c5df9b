"""Numbers that the learner's ranks add up or compare. Every rank makes the same calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Ranks:
    """The ranks of torch's process group, on the device that it talks through."""

    world_size: int
    device: str

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the ranks."""
        return self._reduced(values, torch.distributed.ReduceOp.SUM)

    def largest(self, value: float) -> float:
        """The largest over the ranks."""
        return self._reduced([value], torch.distributed.ReduceOp.MAX)[0]

    def means(self, sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Means over all ranks of (sum, number) pairs; ranks may have different names."""
        everyone: list[Any] = [None] * self.world_size
        if self.world_size > 1:
            torch.distributed.all_gather_object(everyone, dict(sums))
        else:
            everyone = [sums]
        found = {}
        for name in sorted({name for one in everyone for name in one}):
            pairs = [one[name] for one in everyone if name in one]
            total, number = (sum(column) for column in zip(*pairs, strict=True))
            if number:
                found[name] = total / number
        return found

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world_size > 1:
            torch.distributed.all_reduce(numbers, op=how)
        return [float(number) for number in numbers.tolist()]
