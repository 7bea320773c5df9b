"""How many optimizer steps a stage does, and what is removed of steps that will be done again."""

from __future__ import annotations

import math

from recipes.schema.train_stage import TrainStage
from rl.runs.metrics import keep_steps, spent
from rl.runs.store import RunStore


def count_steps(stage: TrainStage, num_rows: int) -> int:
    """Optimizer steps of a training stage: `steps`, or as many as `epochs` (by default 1) take."""
    if stage.steps is not None:
        return stage.steps
    return max(1, math.ceil((stage.epochs or 1.0) * num_rows / stage.prompts_per_step))


def go_back(run: RunStore, stage: str, step: int) -> None:
    """Removes the metrics of steps after `step`, which will be done again. What they cost is kept
    in events.jsonl."""
    redone = keep_steps(run.stage(stage).metrics, step)
    if redone:
        steps = len({row["step"] for row in redone})
        run.event("steps_redone", stage=stage, after=step, steps=steps, **spent(redone))
