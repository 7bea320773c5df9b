"""Read the results of runs: `report`, `compare`, `gate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from recipes.cli.group import Group
from recipes.cli.parameters import RunPath
from rl.errors import ConfigError, DataError

GROUP = Group("Read results", order=40)


@GROUP.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)],
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Write this too: hf | lmms-eval")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the index over several runs.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show it on 127.0.0.1.")] = False,
    port: Annotated[int, typer.Option(help="Port of --serve; 0 takes a free one.")] = 8765,
) -> None:
    """Write the reports of runs (HTML page, leaderboard), or show them while the runs continue."""
    from evals.report.command import report as write
    from recipes.running.run_folder import require_writable
    from rl.runs.store import RunStore

    roots = [RunStore.open(run).root for run in runs]
    if out is not None:
        require_writable(out)
    for path in write(roots, formats=formats or [], out=out, serve=serve, port=port):
        print(path)


@GROUP.command()
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
    """Compare models of any runs question by question, without starting a model."""
    from rich.console import Console

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
    compared = compare_sides(
        sides, part=cast("Literal['report', 'select']", part), profile=profile, force=force
    )
    if as_json:
        print(json.dumps(compared, ensure_ascii=False))
    elif markdown:
        print(markdown_of(compared), end="")
    else:
        show_comparison(compared, Console())
    if refused := refusals(compared):
        raise ConfigError(
            f"not compared: {'; '.join(refused)}", do="give --force to see it with a red mark"
        )


@GROUP.command()
def gate(
    run: RunPath,
    markdown: Annotated[bool, typer.Option(help="Print Markdown, as report/gate.md.")] = False,
) -> None:
    """Say what the gate decided after every stage; exit code 3 where it failed."""
    from rich.console import Console
    from rich.markdown import Markdown

    from evals.report.facts.gate import unjudged, worst_verdict
    from evals.report.formats.gate import markdown_of
    from evals.report.run import read_run

    records = read_run(run)
    text = markdown_of(records)
    if markdown:
        print(text, end="")
    else:
        Console().print(Markdown(text))
    if worst_verdict(records) == "fail":
        raise typer.Exit(3)
    if gaps := unjudged(records):
        more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
        raise DataError(
            f"the gate could not read everything: {gaps[0]}{more}",
            where=str(run),
            expected="a result.json for every evaluation",
            do="put the file back, or run the stages again under another run.name",
        )
