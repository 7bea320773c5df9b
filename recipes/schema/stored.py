"""Recipes that runs keep. Earlier versions wrote every key into every stage, also where it has no
effect.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from recipes.schema.kinds import KINDS, kind_of
from rl.config import NO_EFFECT, ConfigFile, Node, load_config
from rl.config import validate as validated

_ENV = "env.json"  # lies beside the config.yaml of a run, and beside no other recipe


def is_stored(path: Path) -> bool:
    """Whether the file is the config.yaml of a run."""
    return path.name == "config.yaml" and (path.parent / _ENV).is_file()


def load_stored(path: Path) -> ConfigFile:
    """A run's recipe, less the keys that have no effect in their stage. Raises: ConfigError."""
    return without_idle_keys(load_config(path))


def without_idle_keys(config: ConfigFile) -> ConfigFile:
    """The recipe without the keys of its stages that this version refuses as having no effect."""
    stages = config.section("stages")
    if not stages.items():
        return config
    kept = replace(stages, value=[_without(stage) for stage in stages.items()])
    assert isinstance(config.root.value, dict)
    return replace(config, root=replace(config.root, value={**config.root.value, "stages": kept}))


def _without(stage: Node) -> Node:
    if not isinstance(stage.value, dict):
        return stage
    idle = _idle_keys(stage)
    return replace(
        stage,
        value={
            key: value
            for key, value in stage.value.items()
            if key not in idle or value.where.startswith("override ")  # which was typed just now
        },
    )


def _idle_keys(stage: Node) -> set[str]:
    written = stage.plain()
    own = next(kind for kind in KINDS if kind.__name__ == kind_of(written))
    others = {key for kind in KINDS if kind is not own for key in kind.field_names()}
    idle = {key for key in written if key in others and key not in own.field_names()}
    try:
        validated(own, {key: value for key, value in written.items() if key not in idle})
    except ValidationError as error:
        idle |= {str(f["loc"][0]) for f in error.errors() if f["type"] == NO_EFFECT and f["loc"]}
    return idle
