"""The gate's decisions of a run as Markdown: `report/gate.md`, for people and for CI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evals.report.figures import count
from evals.report.leaderboard import Row
from evals.report.markdown import plain
from evals.report.records import Comparison, Result
from evals.report.run import Run, Stage, read_run

VERDICTS = ("pass", "warn", "fail")


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


def worst_verdict(run: Run) -> str:
    """The worst of all verdicts; pass where there is none."""
    found = [result.gate.verdict for _, result in _judged(run) if result.gate]
    inside = [VERDICTS[int(seen)] for stage in run.stages for _, seen in _inside(stage)]
    known = [verdict for verdict in (*found, *inside) if verdict in VERDICTS]
    return max(known, key=VERDICTS.index, default="pass")


def unjudged(run: Run) -> list[str]:
    """What the gate should have read and could not: results that are broken, questions that were
    answered and not scored in a run that has ended, verdicts that are none, no stage at all.
    """
    broken: dict[str, str] = {}
    for problem in run.problems:
        folder, is_result, _ = problem.partition("/result.json")
        if is_result:  # a broken file is told twice: as no JSON, and as no result
            broken.setdefault(folder, problem)
    found = list(broken.values())
    for stage, result in _judged(run):
        verdict = result.gate.verdict if result.gate else None
        if verdict is not None and verdict not in VERDICTS:
            found.append(f"{stage.name} on {result.benchmark}: the verdict {verdict!r} is none")
    if not run.is_running:
        found += [
            f"{stage.name} on {name}: {count(n)} questions answered, no result.json"
            for stage in run.stages
            for name, n in stage.pending.items()
        ]
    return found if run.stages else ["the run has no stage"]


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
        needed = f"{gate.n_to_decide:,}" if gate.n_to_decide else ""
        yield [stage.name, result.benchmark, ", ".join(_whom(result)), gate.verdict or "", needed]


def _whom(result: Result) -> list[str]:
    """The stages that a result was compared with, each once."""
    named: dict[str, list[str]] = {}
    for kind, against in result.comparisons.items():
        if against is not None and against.stage is not None:
            named.setdefault(against.stage, []).append(kind)
    return [
        stage if stage in kinds else f"{stage} ({' and '.join(kinds)})"
        for stage, kinds in named.items()
    ]


def beside(result: Result, row: Row) -> str:
    """What the report part says of the change that the gate judged on the select part, and why the
    two may differ; empty where one of them is missing.
    """
    against = result.against("parent")
    select = against.select if against else None
    if row.parent is None or row.parent.difference is None or select is None:
        return ""
    if row.part != "report":
        return ""
    shown = f"{row.scale.difference(row.parent.difference)} {row.scale.unit}"
    text = (
        f"The report part, on other questions: {shown} {row.scale.interval(row.parent.interval)}, "
        f"{row.parent.verdict}"
    )
    text += "" if row.parent.verdict in ("better", "worse") else " of a difference"
    side = _side(select)
    if side and side != row.parent.verdict:
        where = "below" if side == "worse" else "above"
        text += (
            f". Both bounds on the select part lie {where} zero, and that is no contradiction: the "
            "two parts are other questions, each bound holds 95 times in 100, and what is claimed "
            "of a stage rests on the report part, which no decision has read"
        )
    return text


def _side(select: Comparison) -> str:
    """`better` or `worse` where both one-sided bounds lie on one side of zero."""
    low, high = select.lower_bound, select.upper_bound
    if low is None or high is None:
        return ""
    return "worse" if high < 0 else "better" if low > 0 else ""


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
