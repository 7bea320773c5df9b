"""What every kind of stage has: a name, and the stage whose weights it starts from."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import Field

from rl.config import Section
from rl.data.sources import DataSource

BASE = "base"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_BEST = re.compile(r"best\(([^()]*)\)")


class Stage(Section):
    """One step of a recipe. Each kind of stage is a subclass, so that a key exists only where it
    has an effect.

    A new kind sets the class variables below, has a field called like its `marker`, and is listed
    in `recipes/schema/kinds.py`; `recipes.running.pipeline` runs it.

        stages:
          - {name: sft, algorithm: sft, data: [{path: sft.jsonl}]}           # a TrainStage
          - {name: pairs, from: sft, sample: {rewards: [exact]}, data: ...}  # a SampleStage
    """

    kind: ClassVar[str]  # what stage.json calls it: train | sample
    called: ClassVar[str]  # what messages call it, with its article: "a sample stage"
    marker: ClassVar[str]  # the key that makes a stage one of this kind
    limits: ClassVar[str]  # what it does not do, as messages say of a key that has no effect
    has_weights: ClassVar[bool] = False  # whether other stages can start from it
    writes_rows: ClassVar[bool] = False  # whether `{stage: NAME}` can name it as a data source

    name: str = Field(
        pattern=NAME, description="The stage's folder under `stages/`, and what `from` names."
    )
    from_: str = Field(
        BASE, alias="from", description="The stage to start from, `base`, or best(a, b)."
    )

    @property
    def parents(self) -> tuple[str, ...]:
        """The stages named in `from`: one, or the candidates of best(...)."""
        match = _BEST.fullmatch(self.from_.strip())
        if match is None:
            return (self.from_.strip(),)
        return tuple(part.strip() for part in match.group(1).split(",") if part.strip())

    @property
    def chooses_best(self) -> bool:
        """Whether evaluation picks the parent."""
        return _BEST.fullmatch(self.from_.strip()) is not None

    def row_stages(self) -> dict[str, str]:
        """The stages whose rows this one reads, by the key that names each."""
        return {}

    @classmethod
    def explain_unknown(cls, key: str) -> str:
        """Says of a key of another kind of stage that it has no effect in this one."""
        if key == "seed":
            return "unknown key. Write it as run.seed, from which every stage draws"
        why = f"has no effect in {cls.called}, which {cls.limits}. Remove it, or move it to "
        for other in Stage.__subclasses__():
            if other is cls:
                continue
            if key in other.field_names():
                return why + other.called
            section: Any = other.model_fields[other.marker].annotation
            if key in getattr(section, "model_fields", ()):
                return f"{why}`{other.marker}` of {other.called}"
        return ""


def rows_of(sources: tuple[DataSource, ...]) -> dict[str, str]:
    """The stages that data sources name, by key: {"data.0.stage": "pairs"}."""
    return {f"data.{n}.stage": source.stage for n, source in enumerate(sources) if source.stage}
