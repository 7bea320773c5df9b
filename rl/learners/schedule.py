"""The learning rate of every update, as an exact function of its number."""

from __future__ import annotations

import math

from rl.errors import ConfigError
from rl.learners.base import OptimPlan


def rate(plan: OptimPlan, update: int) -> float:
    """The learning rate of update 1, 2, ... `total_steps`.

    It rises linearly to `lr` at the last warm-up update, then falls by `schedule` to
    `lr * min_lr_ratio` at the last update. Raises: ConfigError for an unknown schedule.

    >>> plan = OptimPlan(lr=1.0, total_steps=5, warmup_steps=2, schedule="linear")
    >>> [rate(plan, update) for update in range(1, 6)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if update <= plan.warmup_steps:
        return plan.lr * update / plan.warmup_steps
    if plan.schedule == "constant":
        return plan.lr
    done = update - plan.warmup_steps - 1
    share = min(1.0, done / max(1, plan.total_steps - plan.warmup_steps - 1))
    if plan.schedule == "linear":
        fall = 1 - share
    elif plan.schedule == "cosine":
        fall = (1 + math.cos(math.pi * share)) / 2
    else:
        raise ConfigError(
            f"unknown schedule {plan.schedule!r}",
            expected="linear, cosine or constant",
            do="choose one of these",
        )
    return plan.lr * (plan.min_lr_ratio + (1 - plan.min_lr_ratio) * fall)
