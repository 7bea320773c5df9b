"""One sentence per stage: its effect on the scores, claiming no more than the figures show."""

from __future__ import annotations

from dataclasses import dataclass

from evals.report.display.figures import PERCENT, count, number, p_value
from evals.report.facts.rows import Against, Row
from evals.report.run import Run, Stage

_GATED = {
    "warn": "; the gate, on the select part, could not rule out a loss beyond the allowed one",
    "fail": "; the gate, on the select part, shows a loss beyond the allowed one",
}


@dataclass(frozen=True)
class Clause:
    """A stage's effect on one benchmark. `mood`: better, worse, no evidence, refused, failed,
    running or plain.
    """

    mood: str
    text: str


@dataclass(frozen=True)
class Sentence:
    """A stage's verdict, with a clause per benchmark."""

    stage: str
    clauses: tuple[Clause, ...]

    @property
    def text(self) -> str:
        return "; ".join(clause.text for clause in self.clauses)


def verdicts(run: Run, rows: list[Row]) -> list[Sentence]:
    """One sentence for every stage of the run."""
    return [
        _sentence(stage, [row for row in rows if row.stage == stage.name]) for stage in run.stages
    ]


def _sentence(stage: Stage, mine: list[Row]) -> Sentence:
    clauses = [_clause(row, row.parent or row.base) for row in mine]
    if state := _state(stage, is_judged=bool(mine)):
        clauses.insert(0, state)
    return Sentence(stage.name, tuple(clauses))


def _state(stage: Stage, *, is_judged: bool) -> Clause | None:
    """The state of a stage, where it is not just finished and scored."""
    if stage.status == "failed":
        why = " ".join(str(stage.facts.get("error") or "no reason was written").split())
        return Clause("failed", f"failed after {count(stage.steps)} steps: {why[:300]}")
    if to := stage.facts.get("rolled_back_to"):
        return Clause(
            "failed", f"failed the gate and was rolled back: later stages start from {to}"
        )
    if stage.status == "running":
        return Clause("running", f"still running, {count(stage.steps)} steps done")
    if is_judged:
        return None
    if stage.kind == "sample":
        return Clause(
            "plain", f"sampled answers from {stage.parent or 'the model'}; no weights changed"
        )
    waiting = " and ".join(f"{count(n)} answers on {b}" for b, n in stage.pending.items())
    return Clause("plain", f"not evaluated yet{f' ({waiting} so far)' if waiting else ''}")


def _clause(row: Row, against: Against | None) -> Clause:
    words = _words(row, against) + (_GATED.get(row.gate or "", "") if against else "")
    return Clause(against.verdict if against else "plain", words)


def _words(row: Row, against: Against | None) -> str:
    if against is None:
        text = f"scores {written(row)} on {row.benchmark}"
        if row.majority_baseline is not None:
            baseline = PERCENT.value(row.majority_baseline)
            own = "" if row.max == 1 else f"{PERCENT.value(row.accuracy)} right, "
            text += f" ({own}always giving the most common answer: {baseline})"
        return text
    name = f"its parent {against.stage}" if against is row.parent else against.stage
    if against.refused and against.difference is None:
        return f"not compared with {name} on {row.benchmark}: {against.refused}"
    unit = f" {row.scale.unit}"
    change = row.scale.difference(against.difference)
    beside = f" (unequal settings: {', '.join(against.unequal)})" if against.unequal else ""
    beside = f" (shown by force: {against.refused})" if against.refused else beside
    figures = ", ".join(
        filter(None, [row.scale.interval(against.interval), p_value(against.p_holm)])
    )
    if against.verdict in ("better", "worse"):
        return (
            f"{against.verdict} than {name} on {row.benchmark} by {change}{unit} {figures}{beside}"
        )
    text = f"no evidence of a difference from {name} on {row.benchmark}: "
    text += f"{change}{unit} {figures}{beside}"
    if seen := _seen(row, against):
        text += f" ({seen})"
    return text


def detectable(row: Row, against: Against) -> list[tuple[str, str]]:
    """The smallest change that the test detects 4 times in 5, as (measure, amount): of the
    benchmark's own statistic, and of accuracy where that is another measure. Each has a test of
    its own: the two are not one amount in two units.
    """
    found = []
    if against.mde_primary:
        own = row.scale.factor * against.mde_primary
        found.append((row.metric, f"{number(own, row.scale.places)} {row.scale.unit}"))
    if against.mde and (row.metric != "accuracy" or not found):
        found.append(("accuracy", f"{number(100 * against.mde, 1)} points"))
    return found


def _seen(row: Row, against: Against) -> str:
    """The smallest detectable changes, in words."""
    measures = detectable(row, against)
    if not measures:
        return ""
    amounts = [
        f"{amount} in {'accuracy' if measure == 'accuracy' else f'the {measure}'}"
        for measure, amount in measures
    ]
    text = f"the test detects a change of {amounts[0]} 4 times in 5"
    if len(measures) == 2:
        text += f"; the test of the accuracy one of {measures[1][1]}"
    return text


def written(row: Row) -> str:
    """A row's score with its interval and, where it is not a share, its maximum."""
    of = "" if row.max == 1 else f" {row.scale.unit}"
    interval = row.scale.interval(row.interval)
    return f"{row.scale.value(row.value)}{of} {interval}".rstrip()
