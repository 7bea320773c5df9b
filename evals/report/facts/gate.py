"""The gate's decisions of a run: the worst of them, and what could not be judged."""

from __future__ import annotations

from collections.abc import Iterator

from evals.report.display.figures import count
from evals.report.facts.rows import Row
from evals.report.records import Comparison, Result
from evals.report.run import Run, Stage

VERDICTS = ("pass", "warn", "fail")


def worst_verdict(run: Run) -> str:
    """The worst of all verdicts; `pass` where there is none."""
    found = [result.gate.verdict for _, result in judged(run) if result.gate]
    inside = [VERDICTS[int(seen)] for stage in run.stages for _, seen in inside_of(stage)]
    known = [verdict for verdict in (*found, *inside) if verdict in VERDICTS]
    return max(known, key=VERDICTS.index, default="pass")


def unjudged(run: Run) -> list[str]:
    """What the gate should have read and could not: broken results, questions that were answered
    and not scored though the run has ended, unknown verdicts, a run without stages.
    """
    broken: dict[str, str] = {}
    for problem in run.problems:
        folder, is_result, _ = problem.partition("/result.json")
        if is_result:  # a broken file has two problems: it is no JSON, and no result
            broken.setdefault(folder, problem)
    found = list(broken.values())
    for stage, result in judged(run):
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


def judged(run: Run) -> Iterator[tuple[Stage, Result]]:
    for stage in run.stages:
        for result in stage.results.values():
            if any(against is not None for against in result.comparisons.values()):
                yield stage, result


def beside(result: Result, row: Row) -> str:
    """The change on the report part, beside the one that the gate judged on the select part, and
    why the two may differ; empty where one of them is missing.
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
    """`better` or `worse` where both one-sided bounds are on the same side of zero."""
    low, high = select.lower_bound, select.upper_bound
    if low is None or high is None:
        return ""
    return "worse" if high < 0 else "better" if low > 0 else ""


def inside_of(stage: Stage) -> list[tuple[int, float]]:
    """(step, worst verdict) of the evaluations inside the stage."""
    return [
        (int(row["step"]), float(row["eval/gate"]))
        for row in stage.metrics
        if row.get("eval/gate") is not None
    ]
