"""The `plumbline` command. Errors are one clear line: exit code 2 a user's mistake, 3 a failed
gate, 1 otherwise."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recipes.cli.one_stage import one_stage
from rl.errors import ConfigError, DataError, PlumblineError
from rl.plugins import names

app = typer.Typer(
    name="plumbline",
    help="Aligns vision-language models and measures after every stage whether they became better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, e.g. stages.grpo.lr=5e-5", show_default=False)
]
RecipePath = Annotated[Path, typer.Argument(help="A recipe page (YAML).", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]
ModelPath = Annotated[Path, typer.Argument(help="A model folder.", show_default=False)]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    _State.debug = debug


class _State:
    debug = False


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option(help="Go on where the run was cut off.")] = False,
    fresh: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    accept_changes: Annotated[
        bool, typer.Option(help="With --resume: go on although the recipe has changed.")
    ] = False,
) -> None:
    """Run a recipe: every stage, evaluation between them, the report."""
    from recipes.running.pipeline import Pipeline
    from recipes.schema.recipe import load_recipe

    how = {"resume": resume, "fresh": fresh, "accept_changes": accept_changes}
    Pipeline(load_recipe(recipe, overrides or []), Console(), **how).run()


@app.command()
def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Show what a recipe comes to: batches, placement, steps, memory. Starts no engine."""
    from recipes.planning.plan import show_plan
    from recipes.schema.recipe import load_recipe

    show_plan(load_recipe(recipe, overrides or []), Console())


@app.command("eval")
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
    max_pixels: Annotated[int | None, typer.Option(help="Image limit in pixels.")] = None,
    profile: Annotated[str, typer.Option(help="Scoring rule.")] = "official",
    resume: Annotated[bool, typer.Option(help="Keep the answers that are there.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave images out.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of a recipe")
    ] = None,
) -> None:
    """Score a model on benchmarks, with the engines that training uses, or an endpoint's model."""
    from recipes.running.endpoint import evaluate_endpoint
    from recipes.running.pipeline import Pipeline
    from recipes.schema.recipe import recipe_of
    from rl.plugins import is_own

    if (endpoint is None) == (model is None) or (endpoint is None) != (name is None):
        raise ConfigError(
            "whom to ask?",
            where="plumbline eval",
            expected="MODEL, or --endpoint URL --model NAME",
            do="give one of the two",
        )
    common = {"limit": limit, "profile": profile, "n": n, "temperature": temperature}
    benchmarks = []
    for pair in benchmark:
        which, equals, path = pair.partition("=")
        if not equals and not which.endswith((".yaml", ".yml")) and not is_own(which):
            raise ConfigError(
                f"--benchmark {pair}",
                expected="name=path, a page my.yaml, or a file mine.py:Mine that has a path",
                do="write it as mme=data/mme",
            )
        benchmarks.append({"name": which, "path": path or None, **common})
        benchmarks[-1]["no_images"] = no_images
    there = None if endpoint is None else {"url": endpoint, "model": name, "key_env": key_env}
    page = {
        "run": {"name": out.name, "root": str(out.parent)},
        "model": {"path": str(model or name), "max_pixels": max_pixels},
        "evals": {"benchmarks": benchmarks, "endpoint": there},
    }
    recipe = recipe_of(page, overrides or [])
    if endpoint is not None:
        evaluate_endpoint(recipe, Console(), resume=resume)
    else:
        Pipeline(recipe, Console(), resume=resume).run()


@app.command()
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
    """Score stored answers again; no model. Prints one JSON object."""
    from evals.scoring.score import score_file

    # Escaped: a model may have answered with a lone surrogate, which no terminal can print.
    print(json.dumps(score_file(benchmark, responses, profile), allow_nan=False))


@app.command()
def compare(
    models: Annotated[
        list[str], typer.Argument(help="RUN or RUN:stage; the first is the baseline.")
    ],
    part: Annotated[str, typer.Option(help="report | select")] = "report",
    profile: Annotated[
        str | None, typer.Option(help="Scoring rule (default: the one the runs were scored by).")
    ] = None,
    force: Annotated[bool, typer.Option(help="Show what unequal settings forbid.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
) -> None:
    """Compare models of any runs, question by question; no model is started."""
    from evals.scoring.compare import compare_sides, open_side, refusals
    from recipes.cli.compared import markdown_of, show_comparison

    if part not in ("report", "select"):
        raise ConfigError(
            f"--part {part}",
            expected="report or select",
            do="give one of the two",
        )
    if as_json and markdown:
        raise ConfigError("--json and --markdown", expected="one of the two", do="leave one out")
    sides = [open_side(model) for model in models]
    found = compare_sides(sides, part=part, profile=profile, force=force)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    elif markdown:
        print(markdown_of(found), end="")
    else:
        show_comparison(found, Console())
    if refused := refusals(found):
        raise ConfigError(
            f"not compared: {'; '.join(refused)}", do="give --force to see it with a red mark"
        )


@app.command()
def sample(
    model: ModelPath,
    data: Annotated[Path, typer.Option(help="Prompts with solutions (JSONL).")],
    out: Annotated[Path, typer.Option(help="Folder for the pairs.")],
    reward: Annotated[list[str], typer.Option("--reward", help="A reward's name.")],
    n: Annotated[int, typer.Option("--n", "-n", help="Answers a prompt.")] = 8,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
    heldout: Annotated[int, typer.Option(help="Pairs kept out of training.")] = 0,
    max_pixels: Annotated[int | None, typer.Option(help="Image limit in pixels.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of a recipe")
    ] = None,
) -> None:
    """Draw a model's own answers and write preference pairs and labelled answers."""
    from recipes.running.pipeline import sample_alone
    from recipes.running.run_folder import require_writable
    from recipes.schema.recipe import recipe_of

    section = {
        "n": n,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "heldout": heldout,
        "rewards": [{"name": name} for name in reward],
    }
    page = {
        "run": {"name": "sample", "root": str(out)},
        "model": {"path": str(model), "max_pixels": max_pixels},
        "stages": [{"name": "pairs", "sample": section, "data": [{"path": str(data)}]}],
    }
    require_writable(out)
    sample_alone(recipe_of(page, overrides or []), out, Console())


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)],
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Beside it: hf | lmms-eval")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the index over several runs.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show it on 127.0.0.1.")] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0 takes a free one.")] = 8765,
) -> None:
    """Write the report of runs (page, leaderboard.md, .csv, .json), or show it while they go on."""
    from evals.report.command import report as write
    from recipes.running.run_folder import require_writable
    from rl.runs.store import RunStore

    roots = [RunStore.open(run).root for run in runs]
    if out is not None:
        require_writable(out)
    for path in write(roots, formats=formats or [], out=out, serve=serve, port=port):
        print(path)


@app.command()
def overlap(
    recipe: RecipePath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for training rows in the benchmarks; fingerprints of pictures are kept for the run."""
    from recipes.running.overlap import show_overlaps
    from recipes.schema.recipe import load_recipe

    show_overlaps(load_recipe(recipe, overrides or []), Console(), as_json=as_json)


@app.command()
def gate(
    run: RunPath,
    markdown: Annotated[bool, typer.Option(help="Print Markdown, as report/gate.md.")] = False,
) -> None:
    """Say what the gate decided after every stage; exit code 3 where it failed."""
    from rich.markdown import Markdown

    from evals.report.gate import markdown_of, unjudged, worst_verdict
    from evals.report.run import read_run

    found = read_run(run)
    text = markdown_of(found)
    if markdown:
        print(text, end="")
    else:
        Console().print(Markdown(text))
    if worst_verdict(found) == "fail":
        raise typer.Exit(3)
    if gaps := unjudged(found):
        more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
        raise DataError(
            f"the gate could not read everything: {gaps[0]}{more}",
            where=str(run),
            expected="a result.json for every evaluation",
            do="put the file back, or run the stages again under another run.name",
        )


@app.command()
def doctor() -> None:
    """Check versions, engines, memory, cores and GPUs, and say what to do about each problem."""
    from recipes.planning.doctor import doctor as check

    raise typer.Exit(check(Console()))


@app.command("list")
def show(
    what: Annotated[
        str, typer.Argument(help="algorithms | rewards | benchmarks | families | formats")
    ] = "",
) -> None:
    """List algorithms, rewards, benchmarks, model families and row formats."""
    packages = {
        "algorithms": "rl.algorithms",
        "rewards": "rewards",
        "benchmarks": "evals.benchmarks",
        "families": "rl.models.families",
        "formats": "rl.data.row_formats",
    }
    if what and what not in packages:
        raise ConfigError(
            f'nothing to list called "{what}"',
            expected=", ".join(packages),
            do="give one of these, or nothing",
        )
    for kind in [what] if what else packages:
        print(f"{kind}: {', '.join(names(packages[kind]))}")


@app.command()
def tiny(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.", show_default=False)],
    family: Annotated[str, typer.Option(help="qwen3_vl | qwen2_5_vl | llava | qwen3")] = "qwen3_vl",
    size: Annotated[str, typer.Option(help="tiny | small")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Make a small random checkpoint of a real architecture, offline."""
    import os

    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # saving imports DeepSpeed, which else warns
    from transformers.utils import logging

    from recipes.running.run_folder import require_writable
    from recipes.synthetic.tiny import make_tiny

    require_writable(out)
    logging.disable_progress_bar()
    print(f"{make_tiny(family, out, seed=seed, size=size)}: a random {family}, size {size}")


@app.command()
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder for the data.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the worlds.")] = 0,
) -> None:
    """Make synthetic scenes: SFT and RL rows, an MME-style and a TextVQA-style benchmark."""
    from recipes.running.run_folder import require_writable
    from recipes.synthetic.scenes import write_scenes

    require_writable(out)
    counts = write_scenes(out, seed=seed)
    print(f"{out}: {counts.sft} rows for SFT, {counts.rl} for RL, {counts.images} pictures")
    for name, parts in (("mme", counts.mme), ("textvqa", counts.textvqa)):
        print(
            f"{out / name}: " + ", ".join(f"{n} questions to {part}" for part, n in parts.items())
        )


for _name in names("rl.algorithms"):
    app.command(_name)(one_stage(_name))


def main() -> None:
    """The command's entry: turns our errors into one line and an exit code."""
    try:
        app()
    except PlumblineError as error:
        if _State.debug:
            traceback.print_exc()
            print(getattr(error, "remote_traceback", ""), file=sys.stderr)
        print(f"plumbline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if _State.debug:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename else ""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free some space, then go on with --resume" if is_full else ""
        print(f"plumbline: {place}{error.strerror or error}{advice}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("plumbline: interrupted", file=sys.stderr)
        sys.exit(130)
