"""The gate's decisions of a run as Markdown: `report/gate.md`, for people and for CI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evals.report.display.figures import count
from evals.report.display.plain import plain
from evals.report.facts.gate import VERDICTS, inside_of, judged, unjudged, worst_verdict
from evals.report.records import Result
from evals.report.run import Run, Stage, read_run


def gate_markdown(root: Path) -> str:
    """The gate's decisions of the run in a folder. Raises: EvalError where there is no run."""
    return markdown_of(read_run(root))


def markdown_of(run: Run) -> str:
    """A table of verdicts, the reasons below it. It is `incomplete` where nothing failed and a
    result is missing or cannot be read.
    """
    verdict, gaps = worst_verdict(run), unjudged(run)
    verdict = "incomplete" if gaps and verdict != "fail" else verdict
    out = [f"## Gate of {plain(run.name)}: {verdict}", ""]
    rows = list(_rows(run))
    if rows:
        head = (
            "stage",
            "benchmark",
            "against",
            "verdict",
            "questions that would decide, had nothing changed",
        )
        out += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        out += [f"| {' | '.join(map(plain, row))} |" for row in rows]
    else:
        out.append("No stage has been compared with another yet.")
    out += ["", *(f"- **not judged**: {plain(gap)}" for gap in gaps)]
    out += [f"- {line}" for stage in run.stages for line in _lines(stage)]
    return "\n".join(out).rstrip() + "\n"


def _rows(run: Run) -> Iterator[list[str]]:
    for stage, result in judged(run):
        gate = result.gate
        if gate is None:
            continue
        needed = count(gate.n_to_decide) if gate.n_to_decide else ""
        yield [
            stage.name,
            result.benchmark,
            ", ".join(_compared_with(result)),
            gate.verdict or "",
            needed,
        ]


def _compared_with(result: Result) -> list[str]:
    """The stages that a result was compared with, each once."""
    named: dict[str, list[str]] = {}
    for kind, against in result.comparisons.items():
        if against is not None and against.stage is not None:
            named.setdefault(against.stage, []).append(kind)
    return [
        stage if stage in kinds else f"{stage} ({' and '.join(kinds)})"
        for stage, kinds in named.items()
    ]


def _lines(stage: Stage) -> Iterator[str]:
    """The reasons and alarms of a stage's gates, and how it ended, escaped."""
    name = f"**{plain(stage.name)}**"
    for result in stage.results.values():
        if result.gate is not None and any(result.comparisons.values()):
            for reason in (*result.gate.reasons, *result.gate.alarms):
                yield f"{name}, {plain(result.benchmark)}: {plain(reason)}"
    if inside := inside_of(stage):
        verdicts = ", ".join(f"step {step} {VERDICTS[int(seen)]}" for step, seen in inside)
        yield f"{name}, inside the stage: {verdicts}"
    if isinstance(ended := stage.facts.get("ended"), dict):
        yield f"{name} ended early: {plain(str(ended.get('why', '')))}"
    if to := stage.facts.get("rolled_back_to"):
        yield f"{name} was rolled back: later stages start from {plain(str(to))}"
