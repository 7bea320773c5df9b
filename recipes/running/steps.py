"""How many steps a stage does, and what is removed of steps that will be done again."""

from __future__ import annotations

import math

from recipes.schema.train_stage import TrainStage
from rl.runs.metrics import keep_steps, spent
from rl.runs.store import RunStore


def count_steps(stage: TrainStage, num_rows: int) -> int:
    """Steps of a training stage: `steps`, or as many as `epochs` (by default 1) take."""
    if stage.steps is not None:
        return stage.steps
    return max(1, math.ceil((stage.epochs or 1.0) * num_rows / stage.prompts_per_step))


def describe_steps(stage: TrainStage, num_rows: int) -> str:
    """A stage's steps in one sentence, with the default that decides where neither `steps` nor
    `epochs` is given, and with a batch that is larger than the rows.

        sft: 188 steps = 1 epoch of 6,000 rows (neither steps nor epochs given)
    """
    num_steps, rows = count_steps(stage, num_rows), f"{num_rows:,} rows"
    text = f"{stage.name}: {num_steps:,} step{'s' if num_steps > 1 else ''}"
    if stage.steps is not None:
        text += f" of {stage.prompts_per_step:,} of {rows}"
    else:
        epochs = stage.epochs or 1.0
        text += f" = {epochs:g} epoch{'s' if epochs != 1 else ''} of {rows}"
    if stage.updates.per_step > 1:
        text += f", {stage.updates.per_step} updates each"
    if has_default_steps(stage):
        text += " (neither steps nor epochs given)"
    if stage.prompts_per_step > num_rows:
        text += f"; prompts_per_step ({stage.prompts_per_step:,}) is larger than the {rows}"
    return text


def has_default_steps(stage: TrainStage) -> bool:
    """Whether the default of one epoch decides how many steps the stage does."""
    return stage.steps is None and stage.epochs is None


def go_back(run: RunStore, stage: str, step: int) -> None:
    """Removes the metrics of steps after `step`, which will be done again. What they cost is kept
    in events.jsonl."""
    redone = keep_steps(run.stage(stage).metrics, step)
    if redone:
        steps = len({row["step"] for row in redone})
        run.event("steps_redone", stage=stage, after=step, steps=steps, **spent(redone))
