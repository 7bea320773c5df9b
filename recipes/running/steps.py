"""From a stage's section and its records to trees and a number of optimizer steps; what is left of
steps that will be done again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recipes.schema.recipe import StageSection
from rl.data.tree import Tree
from rl.runs.metrics import keep_steps, spent
from rl.runs.store import RunStore

if TYPE_CHECKING:
    from rl.data.render import Renderer


def count_steps(stage: StageSection, num_rows: int) -> int:
    """Optimizer steps of a training stage: `steps`, or what `epochs` (default 1) come to."""
    if stage.steps is not None:
        return stage.steps
    return max(1, math.ceil((stage.epochs or 1.0) * num_rows / stage.prompts_per_step))


def make_tree(renderer: Renderer, reading: str, record: Any) -> Tree:
    """An offline record as a tree, by how its stage reads rows."""
    make: dict[str, Callable[[Any], Tree]] = {
        "sft": renderer.sft_tree,
        "preference": renderer.preference_tree,
        "labelled": renderer.labelled_tree,
    }
    return make[reading](record)


def go_back(run: RunStore, stage: str, step: int) -> None:
    """Removes the metrics of steps after `step`, which will be done again; what they cost stays in
    events.jsonl.
    """
    redone = keep_steps(run.stage(stage).metrics, step)
    if redone:
        steps = len({row["step"] for row in redone})
        run.event("steps_redone", stage=stage, after=step, steps=steps, **spent(redone))
