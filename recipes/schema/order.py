"""The order in which stages run: every stage after those that it starts from or reads rows of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from recipes.schema.stage import BASE, Stage
from rl.config import ConfigFile, Problems
from rl.errors import ConfigError
from rl.plugins import did_you_mean

OneStage = TypeVar("OneStage", bound=Stage)


def order_stages(
    stages: Sequence[OneStage], config: ConfigFile | None = None
) -> tuple[OneStage, ...]:
    """The stages with every parent and source of rows before its child, else in the given order.

    Raises: ConfigError with file:line for every stage that is missing or not of the kind that is
    needed there, and for a cycle.
    """
    known = {stage.name: stage for stage in stages}
    problems = Problems()
    for stage in stages:
        if not stage.parents:
            problems.add(_where(config, stage, "from"), "", f"{stage.from_} names no stage")
        for parent in stage.parents:
            if fault := _parent_fault(parent, known):
                problems.add(_where(config, stage, "from"), "", fault)
        for key, name in stage.row_stages().items():
            if fault := _rows_fault(name, known):
                problems.add(_where(config, stage, key), "", fault)
    problems.raise_if_any()
    done: list[OneStage] = []
    left = list(stages)
    while left:
        have = {BASE, *(stage.name for stage in done)}
        ready = next((stage for stage in left if have.issuperset(needed(stage))), None)
        if ready is None:
            names = " -> ".join(stage.name for stage in left)
            raise ConfigError(
                f"a cycle in `from:` ({names})",
                where=_where(config, left[0], "from"),
                do="let one of them start from base",
            )
        done.append(ready)
        left.remove(ready)
    return tuple(done)


def needed(stage: Stage) -> tuple[str, ...]:
    """Every stage that must be finished before this one: parents and sources of rows."""
    return (*stage.parents, *stage.row_stages().values())


def _parent_fault(name: str, known: Mapping[str, Stage]) -> str:
    """Why no stage can start from `name`, or ""."""
    if name != BASE and name not in known:
        return _unknown(name, [BASE, *known])
    if name != BASE and not known[name].has_weights:
        what = f'"{name}" is {known[name].called} and has no weights to start from'
        return f"{what}. Name a training stage"
    return ""


def _rows_fault(name: str, known: Mapping[str, Stage]) -> str:
    """Why no stage can read rows of `name`, or ""."""
    if name not in known:
        return _unknown(name, list(known))
    if not known[name].writes_rows:
        return f'"{name}" is {known[name].called} and writes no rows. Name a sample stage'
    return ""


def _unknown(name: str, names: Sequence[str]) -> str:
    return f'unknown stage "{name}"{did_you_mean(name, names)} ({", ".join(names)})'


def _where(config: ConfigFile | None, stage: Stage, key: str) -> str:
    key = f"stages.{stage.name}.{key}"
    return key if config is None else config.where(key)
