"""The recipe that a command's flags describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
