"""The commands `plumbline sft`, `dpo`, ...: a recipe of one stage, from flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console


def one_stage(algorithm: str) -> Any:
    """The command of one algorithm."""

    def command(
        model: Annotated[Path, typer.Option(help="A model folder.")],
        data: Annotated[list[Path], typer.Option(help="Rows (JSONL, Parquet, ...).")],
        out: Annotated[Path, typer.Option(help="Run folder.")],
        steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
        epochs: Annotated[float | None, typer.Option(help="Passes over the rows.")] = None,
        lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
        reward: Annotated[list[str] | None, typer.Option("--reward", help="A reward.")] = None,
        max_pixels: Annotated[int | None, typer.Option(help="Image limit in pixels.")] = None,
        overrides: Annotated[
            list[str] | None, typer.Option("--set", help="key=value, e.g. learner.zero=2")
        ] = None,
        resume: Annotated[bool, typer.Option(help="Go on with an unfinished run.")] = False,
    ) -> None:
        from recipes.running.pipeline import Pipeline
        from recipes.schema.recipe import recipe_of

        stage: dict[str, Any] = {
            "name": algorithm,
            "algorithm": {"name": algorithm},
            "data": [{"path": str(path)} for path in data],
            "rewards": [{"name": name} for name in reward or []],
        }
        stage |= {
            key: value
            for key, value in {"steps": steps, "epochs": epochs, "lr": lr}.items()
            if value is not None
        }
        page = {
            "run": {"name": out.name, "root": str(out.parent)},
            "model": {"path": str(model), "max_pixels": max_pixels},
            "stages": [stage],
        }
        Pipeline(recipe_of(page, overrides or []), Console(), resume=resume).run()

    command.__doc__ = f"Run one {algorithm} stage from flags."
    return command
