"""Advantages of a group: how much better an answer is than the others of its prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rl.algorithms.base import Step
from rl.data.tree import Tree

STD_FLOOR = 1e-4  # added to the standard deviation, as TRL does
EQUAL_REWARDS = 1e-8  # rewards closer than this are rounding


def rewards_of(tree: Tree) -> list[float | None]:
    """The rewards of a group, in the order of its answers."""
    return [branch.reward for branch in tree.branches]


def group_advantages(
    rewards: Sequence[float | None], scale: str, batch_std: float | None = None
) -> list[float]:
    """A of each answer of a group: r - mean, over std + 1e-4 where scaled; unscored answers get 0.

    >>> group_advantages([1.0, 0.0, None], "none")
    [0.5, -0.5, 0.0]
    """
    if has_no_signal(rewards):
        return [0.0] * len(rewards)
    scored = [reward for reward in rewards if reward is not None]
    mean = math.fsum(scored) / len(scored)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in scored) / (len(scored) - 1))
    divisor = {"group": std + STD_FLOOR, "batch": (batch_std or 0.0) + STD_FLOOR, "none": 1.0}
    return [0.0 if r is None else (r - mean) / divisor[scale] for r in rewards]


def has_no_signal(rewards: Sequence[float | None]) -> bool:
    """Whether a group teaches nothing: fewer than two scored answers, or all scored alike."""
    scored = [reward for reward in rewards if reward is not None]
    return not scored or max(scored) - min(scored) <= EQUAL_REWARDS


def std_over_step(step: Step) -> float:
    """The unbiased standard deviation of every scored reward of the step, over all ranks."""
    scored = [r for tree in step.trees for r in rewards_of(tree) if r is not None]
    num, total = step.total([len(scored), math.fsum(scored)])
    (squares,) = step.total([math.fsum((r - total / max(num, 1)) ** 2 for r in scored)])
    return math.sqrt(squares / (num - 1)) if num > 1 else 0.0
