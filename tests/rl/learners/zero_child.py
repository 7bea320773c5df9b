"""What the tests run in a process of their own: DeepSpeed's process group is the whole
process's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rl.algorithms.base import Algorithm
from rl.data.tree import Tree
from rl.learners.base import LearnerConfig, LogitView, OptimPlan
from rl.models.spec import ModelConfig

LEARNERS: dict[str, Any] = {}


def start(
    name: str, config: LearnerConfig, path: str, rank: int, world_size: int, port: int
) -> int:
    """A learner that later calls name."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    from rl.learners.zero import ZeroLearner

    LEARNERS[name] = ZeroLearner(
        config, ModelConfig(path=path), rank, world_size, "127.0.0.1", port
    )
    return os.getpid()


def call(name: str, method: str, *args: Any, **kwargs: Any) -> Any:
    """One call of a started learner."""
    return getattr(LEARNERS[name], method)(*args, **kwargs)


def train(
    name: str,
    checkpoint: str,
    plan: OptimPlan,
    steps: Sequence[Sequence[Tree]],
    algorithm: Algorithm,
    published: str,
    *,
    needs_reference: bool = False,
) -> list[dict[str, float]]:
    """A stage: metrics of every step; the weights are published at its end."""
    learner = LEARNERS[name]
    learner.begin_stage(checkpoint, plan, needs_reference=needs_reference)
    metrics = [dict(learner.step(trees, algorithm, LogitView())) for trees in steps]
    learner.publish(published)
    return metrics
