"""A pool, a parity gate and training data for an engine under test and its plain learner."""

from __future__ import annotations

import random
from typing import Any

from rl.core import Sample
from rl.data.tree import Branch, Tree
from rl.learners.base import SamplingDistribution
from rl.runtime.parity import ParityGate
from rollouts.pool import Pool


def pool_of(line: Any, learner: Any, *handles: Any) -> Pool:
    return Pool([line.handle, *handles], learner.renderer.prompt_text, deadline_s=120)


def gate_of(
    line: Any, learner: Any, probes: list[Sample], tolerance: float = 1e-5, **kwargs: Any
) -> ParityGate:
    distribution = SamplingDistribution(temperature=0.9, banned_ids=tuple(learner.spec.banned_ids))
    return ParityGate(
        probes,
        kwargs.pop("prompt_ids", learner.renderer.prompt_ids),
        distribution,
        tolerance=tolerance,
        image_token_id=learner.spec.image_token_id,
        remedies=line.config.engine.remedies,
        **kwargs,
    )


def training_trees(learner: Any, samples: list[Sample]) -> list[Tree]:
    rng = random.Random(0)
    return [
        Tree(
            uid=sample.uid,
            trunk_ids=learner.renderer.prompt_ids(sample),
            images=sample.images,
            branches=(Branch(uid="0", token_ids=tuple(rng.randrange(100, 300) for _ in range(6))),),
        )
        for sample in samples
    ]
