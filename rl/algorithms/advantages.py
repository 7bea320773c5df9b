"""Advantages within a group: how much better an answer is than the other answers to its prompt.

To change the baseline of GRPO, change `group_advantages`, or compute advantages of your own and
give them to the trees before the learner's step: `tree.with_column("advantage", values)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rl.algorithms.base import Step
from rl.data.tree import Tree

Scale = Literal["group", "batch", "none"]
STD_FLOOR = 1e-4  # added to the standard deviation, as TRL does: no division by 0
EQUAL_REWARDS = 1e-8  # rewards closer than this are equal but for rounding


def group_advantages(
    rewards: Sequence[float | None], scale: Scale, batch_std: float | None = None
) -> list[float]:
    """The advantage of each answer of a group: its reward minus the group's mean reward, divided by
    a standard deviation plus 1e-4.

    rewards: one for each answer; None: unscored. Unscored answers are left out of the mean and get
        the advantage 0.
    scale: whose standard deviation divides: the group's (`group`), that of all rewards of the step
        (`batch`, given as `batch_std`), or none. It is unbiased, as TRL's.

    A group that teaches nothing (`has_no_signal`) gets advantages of 0.

    >>> group_advantages([1.0, 0.0, None], "none")
    [0.5, -0.5, 0.0]
    >>> [round(advantage, 3) for advantage in group_advantages([1.0, 0.0], "group")]
    [0.707, -0.707]
    """
    if has_no_signal(rewards):
        return [0.0] * len(rewards)
    scored = [reward for reward in rewards if reward is not None]
    mean = math.fsum(scored) / len(scored)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in scored) / (len(scored) - 1))
    divisor = {"group": std + STD_FLOOR, "batch": (batch_std or 0.0) + STD_FLOOR, "none": 1.0}
    return [0.0 if r is None else (r - mean) / divisor[scale] for r in rewards]


def has_no_signal(rewards: Sequence[float | None]) -> bool:
    """Whether a group teaches nothing: fewer than two scored answers, or equal rewards for all.

    >>> has_no_signal([0.5, None]), has_no_signal([1.0, 1.0]), has_no_signal([1.0, 0.0])
    (True, True, False)
    """
    scored = [reward for reward in rewards if reward is not None]
    return not scored or max(scored) - min(scored) <= EQUAL_REWARDS


def rewards_of(tree: Tree) -> list[float | None]:
    """The rewards of a group, in the order of its answers."""
    return [branch.reward for branch in tree.branches]


def std_over_step(step: Step) -> float:
    """The unbiased standard deviation of every scored reward of the step, over all ranks."""
    scored = [r for tree in step.trees for r in rewards_of(tree) if r is not None]
    num, total = step.total([len(scored), math.fsum(scored)])
    # A second sum over the ranks, of squared differences from the mean: the difference of the mean
    # square and the squared mean would lose digits.
    (squares,) = step.total([math.fsum((r - total / max(num, 1)) ** 2 for r in scored)])
    return math.sqrt(squares / (num - 1)) if num > 1 else 0.0
