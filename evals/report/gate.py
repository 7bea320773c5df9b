"""The gate's decisions of a run as Markdown: `report/gate.md`, for people and for CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from evals.report.markdown import plain
from evals.report.records import Result
from evals.report.run import Run, Stage, read_run

VERDICTS = ("pass", "warn", "fail")


def write_gate(root: Path) -> Path:
    """Writes `report/gate.md`, whole or not at all. Raises: EvalError where there is no run."""
    path = root / "report" / "gate.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(".gate.md.writing")
    aside.write_bytes(gate_markdown(root).encode("utf-8", "replace"))
    os.replace(aside, path)
    return path


def gate_markdown(root: Path) -> str:
    """A table of verdicts, the reasons below it. Raises: EvalError where there is no run."""
    run = read_run(root)
    out = [f"## Gate of {plain(run.name)}: {worst_verdict(run)}", ""]
    rows = list(_rows(run))
    if rows:
        head = ("stage", "benchmark", "against", "verdict", "questions that would decide")
        out += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        out += [f"| {' | '.join(map(plain, row))} |" for row in rows]
    else:
        out.append("No stage has been compared with another yet.")
    out += ["", *(f"- {line}" for stage in run.stages for line in _lines(stage))]
    return "\n".join(out).rstrip() + "\n"


def worst_verdict(run: Run) -> str:
    """The worst of all verdicts; pass where there is none."""
    found = [result.gate.verdict for _, result in _judged(run) if result.gate]
    inside = [VERDICTS[int(seen)] for stage in run.stages for _, seen in _inside(stage)]
    known = [verdict for verdict in (*found, *inside) if verdict in VERDICTS]
    return max(known, key=VERDICTS.index, default="pass")


def _judged(run: Run) -> Iterator[tuple[Stage, Result]]:
    for stage in run.stages:
        for result in stage.results.values():
            if any(against is not None for against in result.comparisons.values()):
                yield stage, result


def _rows(run: Run) -> Iterator[list[str]]:
    for stage, result in _judged(run):
        gate = result.gate
        if gate is None:
            continue
        whom = [
            f"{name} {against.stage}" for name, against in result.comparisons.items() if against
        ]
        needed = f"{gate.n_to_decide:,}" if gate.n_to_decide else ""
        yield [stage.name, result.benchmark, ", ".join(whom), gate.verdict or "", needed]


def _inside(stage: Stage) -> list[tuple[int, float]]:
    """(step, worst verdict) of the evaluations inside the stage."""
    return [
        (int(row["step"]), float(row["eval/gate"]))
        for row in stage.metrics
        if row.get("eval/gate") is not None
    ]


def _lines(stage: Stage) -> Iterator[str]:
    """What is to be said of a stage, escaped."""
    name = f"**{plain(stage.name)}**"
    for result in stage.results.values():
        if result.gate is not None and any(result.comparisons.values()):
            for reason in (*result.gate.reasons, *result.gate.alarms):
                yield f"{name}, {plain(result.benchmark)}: {plain(reason)}"
    if inside := _inside(stage):
        told = ", ".join(f"step {step} {VERDICTS[int(seen)]}" for step, seen in inside)
        yield f"{name}, inside the stage: {told}"
    if isinstance(ended := stage.facts.get("ended"), dict):
        yield f"{name} ended early: {plain(str(ended.get('why', '')))}"
    if to := stage.facts.get("rolled_back_to"):
        yield f"{name} was rolled back: later stages start from {plain(str(to))}"
