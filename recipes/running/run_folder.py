"""A run's folder: made new, or opened again to resume a run whose recipe is the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from recipes.schema.recipe import Recipe, resolved
from recipes.schema.stored import load_stored
from rl.config import dump
from rl.errors import ConfigError
from rl.runs.store import RunStore


def open_run(
    recipe: Recipe, root: Path, *, resume: bool, fresh: bool, accept_changes: bool = False
) -> RunStore:
    """Makes the run's folder, or opens it again for `resume`.

    With `accept_changes` a run may be resumed although its recipe has changed: the new recipe
    replaces the old one in the folder, events.jsonl lists the changes, and finished stages stay as
    they are. Raises: ConfigError if a run of that name is there and neither `resume` nor `fresh`
    was asked for, or if the recipe of a resumed run has changed (the error names each difference).
    """
    config = resolved(recipe)
    if fresh and root.exists():
        shutil.rmtree(root)
    if (root / "config.yaml").exists():
        if not resume:
            raise ConfigError(
                "a run of this name is there already",
                where=str(root),
                do="give --resume to continue it, --fresh to replace it, or another run.name=...",
            )
        changed = differences(config, dump(load_stored(root / "config.yaml").plain()))
        if changed and not accept_changes:
            raise ConfigError(
                f"the recipe differs from the run's: {'; '.join(changed)}",
                where=str(root / "config.yaml"),
                do="undo the change, give --accept-changes to continue with it (finished stages "
                "stay as they are), or start another run with run.name=...",
            )
        store = RunStore.open(root)
        if changed:
            (root / "config.yaml").write_text(config, encoding="utf-8")
            store.event("recipe_changed", changes=changed)
        return store
    facts = {"seed": recipe.run.seed}
    return RunStore.create(root, config_yaml=config, facts=facts)


def require_writable(folder: Path, do: str = "choose another folder") -> None:
    """Whether files can be made in a folder, there or still to be made; leaves nothing behind.

    Raises: ConfigError.
    """
    try:
        place = folder
        while not place.exists() and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            return
    except (OSError, ValueError) as error:  # ValueError: a null character
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"the folder cannot be written: {why}", where=str(folder), do=do
        ) from error


def differences(new: str, old: str) -> list[str]:
    """`key: old -> new` for every leaf in which two resolved recipes differ, and for every list
    whose items only changed places. `run.root` and `runtime.address` may differ."""
    before, after = _leaves(yaml.safe_load(old)), _leaves(yaml.safe_load(new))
    keys = [key for key in {**before, **after} if key not in ("run.root", "runtime.address")]
    return [
        f"{key}: {_shown(before.get(key))} -> {_shown(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key) and not _are_others(before.get(key), after.get(key))
    ]


class _Order(tuple[str, ...]):
    """The names of a list's items, in order: the leaf that represents their places."""


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, _Order) else str(value)


def _are_others(before: Any, after: Any) -> bool:
    """Whether two orders are of different items, whose own leaves differ then."""
    orders = [value for value in (before, after) if isinstance(value, _Order)]
    return bool(orders) and sorted(before or ()) != sorted(after or ())


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        parts = {str(name): item for name, item in value.items()}
    elif isinstance(value, list) and value:
        names = _distinct([_name(item, index) for index, item in enumerate(value)])
        parts = dict(zip(names, value, strict=True))
    else:
        return {key: value}
    found = {
        k: v for name, item in parts.items() for k, v in _leaves(item, f"{key}.{name}").items()
    }
    if isinstance(value, list):
        found[f"{key} (order)"] = _Order(parts)
    return {k.lstrip("."): v for k, v in found.items()}


def _name(item: Any, index: int) -> str:
    return str(item["name"]) if isinstance(item, dict) and item.get("name") else str(index)


def _distinct(names: list[str]) -> list[str]:
    """The names; each that was there before with its number: format, format[1]."""
    return [
        f"{name}[{names[:i].count(name)}]" if name in names[:i] else name
        for i, name in enumerate(names)
    ]
