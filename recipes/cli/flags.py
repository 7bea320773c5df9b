"""The recipe that a command's flags describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.plugins import find, names

if TYPE_CHECKING:
    from recipes.schema.recipe import Recipe


def recipe_from_flags(
    model: Path | str,
    out: Path,
    *,
    max_pixels: int | None = None,
    overrides: Sequence[str] | None = None,
    **sections: Any,
) -> Recipe:
    """The recipe of a command that is given flags instead of a recipe file.

    Args:
        model: The model's folder, or its name at an endpoint.
        out: The run's folder: its last part is `run.name`, the rest `run.root`.
        max_pixels: The image limit, `model.max_pixels`.
        overrides: `key=value` of `--set`, which win over the flags.
        sections: The recipe's other sections as written in YAML, e.g. `stages=[{...}]`. A key
            whose value is None is left out, so that the recipe's default holds.

    Raises: ConfigError listing every fault.

    Example:

        recipe_from_flags("models/base", Path("runs/a"), stages=[{"name": "sft", ...}])
    """
    from recipes.schema.recipe import recipe_of

    written = {
        "run": {"name": out.name, "root": str(out.parent)},
        "model": {"path": str(model), "max_pixels": max_pixels},
        **sections,
    }
    return recipe_of(written, overrides or [])


def recipe_key_of(option: str, command: str) -> str:
    """The recipe's key that is called as an option which the command does not have, or "".

    >>> recipe_key_of("--beta", "dpo"), recipe_key_of("--weight-decay", "dpo")
    ('stages.dpo.algorithm.beta', 'stages.dpo.weight_decay')
    >>> recipe_key_of("--seed", "eval"), recipe_key_of("--beta", "eval")
    ('run.seed', '')
    """
    from recipes.schema.recipe import Recipe
    from recipes.schema.train_stage import TrainStage

    word = option.lstrip("-").replace("-", "_")
    sections: dict[str, Any] = {}
    if command in names("rl.algorithms"):
        sections[f"stages.{command}.algorithm"] = find("rl.algorithms", command)
        sections[f"stages.{command}"] = TrainStage
    sections |= {name: field.annotation for name, field in Recipe.model_fields.items()}
    places = (key for key, cls in sections.items() if word in getattr(cls, "model_fields", {}))
    return next((f"{place}.{word}" for place in places), "")
