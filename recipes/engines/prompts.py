"""What both engines and scripts open first: the renderer of a recipe's model, and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from recipes.schema.recipe import Recipe
from rl.core import Labelled, Preference, Sample

if TYPE_CHECKING:
    from rl.data.render import Renderer

Record = Sample | Preference | Labelled


def open_renderer(recipe: Recipe) -> Renderer:
    """Opens the processor of the recipe's model. Raises: ModelError naming what the folder
    lacks."""
    from rl.data.render import Renderer
    from rl.models.load import find_spec, load_processor

    processor = load_processor(recipe.model.path, recipe.model.max_pixels)
    spec = find_spec(recipe.model.path, processor)
    return Renderer(processor, spec, recipe.rollout.max_model_len)


def prompts_of(records: Sequence[Record]) -> list[Sample]:
    """The prompts of records of any kind: without the answer, as an engine is asked."""
    found = []
    for record in records:
        sample = record if isinstance(record, Sample) else record.sample
        if sample.messages[-1].role == "assistant":
            sample = replace(sample, messages=sample.messages[:-1])
        found.append(sample)
    return found
