"""Evaluate a model: `eval`, `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli.flags import recipe_from_flags
from recipes.cli.group import Group
from recipes.cli.parameters import MaxPixels, NoParity, SetOption
from rl.errors import ConfigError

GROUP = Group("Evaluate a model", order=30)


@GROUP.command("eval")
def evaluate(
    benchmark: Annotated[
        list[str],
        typer.Option("--benchmark", "-b", help="name=path, e.g. mme=data/mme; my.yaml"),
    ],
    out: Annotated[Path, typer.Option(help="Run folder for responses and results.")],
    model: Annotated[
        Path | None, typer.Argument(help="A model folder.", show_default=False)
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Ask an OpenAI-compatible URL (.../v1) instead.")
    ] = None,
    name: Annotated[str | None, typer.Option("--model", help="The model's name there.")] = None,
    key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    limit: Annotated[int | None, typer.Option(help="Questions of each benchmark.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Answers a question.")] = 1,
    temperature: Annotated[float, typer.Option(help="Above 0 where n is above 1.")] = 0.0,
    max_pixels: MaxPixels = None,
    profile: Annotated[str, typer.Option(help="Scoring rule.")] = "official",
    resume: Annotated[bool, typer.Option(help="Keep the answers that are there.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave images out.")] = False,
    no_parity: NoParity = False,
    overrides: SetOption = None,
) -> None:
    """Score a model folder, or a model behind an endpoint, on benchmarks."""
    from rich.console import Console

    from recipes.running.endpoint import evaluate_endpoint
    from recipes.running.pipeline import Pipeline

    if (endpoint is None) == (model is None) or (endpoint is None) != (name is None):
        raise ConfigError(
            "which model is asked is not clear",
            where="plumbline eval",
            expected="MODEL, or --endpoint URL --model NAME",
            do="give one of the two",
        )
    settings = {
        "limit": limit,
        "profile": profile,
        "n": n,
        "temperature": temperature,
        "no_images": no_images,
    }
    url = None if endpoint is None else {"url": endpoint, "model": name, "key_env": key_env}
    recipe = recipe_from_flags(
        model or name or "",
        out,
        max_pixels=max_pixels,
        overrides=overrides,
        parity={"without_learner": False if no_parity else None},
        evals={
            "benchmarks": [{**_named(pair), **settings} for pair in benchmark],
            "endpoint": url,
        },
    )
    if endpoint is not None:
        evaluate_endpoint(recipe, Console(), resume=resume)
    else:
        Pipeline(recipe, Console(), resume=resume).run()


def _named(pair: str) -> dict[str, Any]:
    """A benchmark's name and path from `mme=data/mme`, `my.yaml` or `mine.py:Mine`."""
    from rl.plugins import is_own

    name, equals, path = pair.partition("=")
    if not equals and not name.endswith((".yaml", ".yml")) and not is_own(name):
        raise ConfigError(
            f"--benchmark {pair}",
            expected="name=path, a YAML file my.yaml, or a file mine.py:Mine that has a path",
            do="write it as mme=data/mme",
        )
    return {"name": name, "path": path or None}


@GROUP.command()
def score(
    benchmark: Annotated[str, typer.Argument(help="A benchmark's id, e.g. mme.")],
    responses: Annotated[Path, typer.Argument(help="responses.jsonl, one row an answer.")],
    profile: Annotated[
        str | None,
        typer.Option(
            help="official (default) | lmms_eval | vlmevalkit | flexible, as it has them."
        ),
    ] = None,
) -> None:
    """Score stored answers again without a model, and print one JSON object."""
    from evals.scoring.score import score_file

    # Escaped: a model may have answered with a lone surrogate, which no terminal can print.
    print(json.dumps(score_file(benchmark, responses, profile), allow_nan=False))
