"""The kinds of stages. A new kind is one more class, named in `KINDS` and in `AnyStage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from recipes.schema.sample_stage import SampleStage
from recipes.schema.stage import Stage
from recipes.schema.train_stage import TrainStage

KINDS: tuple[type[Stage], ...] = (TrainStage, SampleStage)


def kind_of(stage: Any) -> str:
    """The class that reads a stage as written: the first whose marker it has."""
    if isinstance(stage, Stage):
        return type(stage).__name__
    keys = stage if isinstance(stage, Mapping) else ()
    return next((kind.__name__ for kind in KINDS if kind.marker in keys), TrainStage.__name__)


AnyStage = Annotated[
    Annotated[TrainStage, Tag("TrainStage")] | Annotated[SampleStage, Tag("SampleStage")],
    Discriminator(kind_of),
]
