"""Recipes that runs keep. Earlier versions wrote every key into every stage, also where it has no
effect, vLLM's own keys beside those of all engines in `rollout`, and `heldout` for the number of
pairs that a sample stage keeps out of training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from recipes.schema.kinds import KINDS, kind_of
from rl.config import NO_EFFECT, ConfigFile, Node, load_config
from rl.config import validate as validated

# Keys of `rollout` that are now keys of `rollout.engine`.
_OF_ENGINE = (
    *("block_size", "kv_cache_gib", "gpu_memory_utilization", "enforce_eager"),
    *("tensor_parallel", "transport", "rendezvous"),
)
_CORES = {"in_process": "in_process", "async": "own_process"}  # `rollout.engine` once -> its `core`
_ENV = "env.json"  # lies beside the config.yaml of a run, and beside no other recipe


def is_stored(path: Path) -> bool:
    """Whether the file is the config.yaml of a run."""
    return path.name == "config.yaml" and (path.parent / _ENV).is_file()


def load_stored(path: Path) -> ConfigFile:
    """A run's recipe as this version writes it. Raises: ConfigError."""
    return as_written_now(load_config(path))


def as_written_now(config: ConfigFile) -> ConfigFile:
    """A stored recipe without keys that have no effect, with the engine's keys in its section, and
    with the names that keys have now.

    What an override of the command line sets is left as it is, and refused if it is outdated.
    """
    return without_idle_keys(_with_stages(_with_engine_section(config), _with_num_heldout))


def _with_num_heldout(stage: Node) -> Node:
    section = stage.child("sample")
    if not isinstance(stage.value, dict) or section is None or not isinstance(section.value, dict):
        return stage
    kept = dict(section.value)
    old = kept.get("heldout")
    if old is None or _is_override(old):
        return stage
    del kept["heldout"]
    # An override of the command line has set the new key: it wins.
    kept.setdefault("num_heldout", replace(old, key=f"{section.key}.num_heldout"))
    return replace(stage, value={**stage.value, "sample": replace(section, value=kept)})


def _with_engine_section(config: ConfigFile) -> ConfigFile:
    rollout = config.section("rollout")
    if not isinstance(rollout.value, dict) or not isinstance(config.root.value, dict):
        return config
    kept, moved = dict(rollout.value), dict[str, Node]()
    for key, node in rollout.value.items():
        if key in _OF_ENGINE and not _is_override(node):
            moved[key] = replace(kept.pop(key), key=f"rollout.engine.{key}")
    section = kept.get("engine", Node({}, rollout.where))
    # An override of an engine's key has made `{name: in_process}` of `in_process`.
    stated = section.child("name") or section
    if isinstance(stated.value, str) and stated.value in _CORES and not _is_override(stated):
        moved["core"] = Node(_CORES[stated.value], stated.where, "rollout.engine.core")
        own = section.value if isinstance(section.value, dict) else {}
        section = replace(section, value={k: v for k, v in own.items() if k != "name"})
    if not moved:
        return config
    if isinstance(section.value, dict):
        name = Node("vllm", rollout.where, "rollout.engine.name")
        section = replace(section, value={"name": name, **moved, **section.value})
    rest = replace(rollout, value={**kept, "engine": section})
    return replace(config, root=replace(config.root, value={**config.root.value, "rollout": rest}))


def without_idle_keys(config: ConfigFile) -> ConfigFile:
    """The recipe without the keys of its stages that this version refuses as having no effect."""
    return _with_stages(config, _without)


def _with_stages(config: ConfigFile, change: Callable[[Node], Node]) -> ConfigFile:
    stages = config.section("stages")
    if not stages.items():
        return config
    kept = replace(stages, value=[change(stage) for stage in stages.items()])
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
            if key not in idle or _is_override(value)
        },
    )


def _is_override(node: Node) -> bool:
    """Whether the command line has set this just now."""
    return node.where.startswith("override ")


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
