"""Run a recipe: `run`, `plan`, `overlap`."""

from __future__ import annotations

from typing import Annotated

import typer

from recipes.cli.group import Group
from recipes.cli.parameters import Overrides, RecipePath

GROUP = Group("Run a recipe", order=10)


@GROUP.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option(help="Continue a run that was interrupted.")] = False,
    fresh: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    accept_changes: Annotated[
        bool, typer.Option(help="With --resume: continue although the recipe has changed.")
    ] = False,
) -> None:
    """Run a recipe: every stage, the evaluations between them and the report."""
    from rich.console import Console

    from recipes.running.pipeline import Pipeline
    from recipes.schema.recipe import load_recipe

    how = {"resume": resume, "fresh": fresh, "accept_changes": accept_changes}
    Pipeline(load_recipe(recipe, overrides or []), Console(), **how).run()


@GROUP.command()
def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Show the batches, steps, placement and memory of a recipe without starting an engine."""
    from rich.console import Console

    from recipes.planning.plan import show_plan
    from recipes.schema.recipe import load_recipe

    show_plan(load_recipe(recipe, overrides or []), Console())


@GROUP.command()
def overlap(
    recipe: RecipePath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for training rows that are in the benchmarks.

    Fingerprints of the images are kept for the run.
    """
    from rich.console import Console

    from recipes.planning.overlap import show_overlaps
    from recipes.schema.recipe import load_recipe

    show_overlaps(load_recipe(recipe, overrides or []), Console(), as_json=as_json)
