"""What came of the run: the last stage against base, and which stages on its way made the
difference, a line a benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass

from evals.report.leaderboard import Against, Row
from evals.report.moves import seen
from evals.report.overview import Summaries, split_of
from evals.report.run import Run, Stage

_TOLD = 4  # benchmarks that are told one by one
_CLAIMS = {
    "better": "better than",
    "worse": "worse than",
    "no evidence": "not shown to differ from",
    "refused": "not comparable with",
}


@dataclass(frozen=True)
class Conclusion:
    """A sentence, or what its lines have in common, and a line a benchmark."""

    lead: str = ""
    lines: tuple[str, ...] = ()


def conclusion(run: Run, rows: list[Row], summaries: Summaries) -> Conclusion:
    """It claims no more than the tables, and is empty where no stage has been compared. Behind a
    gain or a loss stands what it was, answering, form or sight, where the answers tell.
    """
    found = {(row.stage, row.benchmark): row for row in rows}
    compared = {row.stage for row in rows if row.base}
    standing = [stage for stage in run.scored if not stage.facts.get("rolled_back_to")]
    ends = [stage for stage in standing if stage.name in compared]
    if not ends:
        return Conclusion()
    last = ends[-1]
    line = run.line(last.name)
    mine = [row for row in rows if row.stage == last.name and row.base]
    way = " → ".join(stage.name for stage in line)
    so_far = "So far " if run.is_running else ""
    text = f"{so_far}{last.name} ({way})"
    if len(mine) > _TOLD:
        return Conclusion(f"{text} is {_counted(mine)}.")
    parents = {stage.parent for stage in standing}
    others = [s.name for s in ends[:-1] if s.name not in parents]
    lines = [_one(row, line, found, summaries) for row in mine]
    lines += filter(None, (_other(name, rows) for name in others[:_TOLD]))
    return Conclusion(f"{text}:", tuple(lines))


def _other(name: str, rows: list[Row]) -> str:
    """What a stage scores on which another line ends."""
    told = [
        f"{_written(row)} on {row.benchmark}"
        for row in rows
        if row.stage == name and row.value is not None
    ]
    return f"{name}, the end of another line: {_and(told)}" if told else ""


def _written(row: Row) -> str:
    return row.scale.value(row.value) + ("" if row.max == 1 else f" {row.scale.unit}")


def _one(
    row: Row, line: list[Stage], found: dict[tuple[str, str], Row], summaries: Summaries
) -> str:
    """One benchmark: from what to what, and where on the way it moved."""
    base = row.base
    assert base is not None
    before = found.get((base.stage, row.benchmark))
    figures = (f"{row.scale.value(before.value)} → " if before else "") + _written(row)
    claim = f"{_CLAIMS[_verdict(base)]} {base.stage}"
    steps = _steps(row.benchmark, line, found, summaries)
    return "; ".join([f"{row.benchmark}: {claim}, {figures}", *steps])


def _verdict(against: Against) -> str:
    """The verdict; one that was shown by force claims nothing here."""
    return "refused" if against.refused or against.unequal else against.verdict


def _steps(
    benchmark: str,
    line: list[Stage],
    found: dict[tuple[str, str], Row],
    summaries: Summaries,
) -> list[str]:
    """The stages of the line by their verdict against the stage before them."""
    by_verdict: dict[str, list[str]] = {}
    for stage in line:
        row = found.get((stage.name, benchmark))
        if row is not None and row.parent is not None:
            verdict = _verdict(row.parent)
            why = _why(summaries, benchmark, stage) if verdict in ("better", "worse") else ""
            by_verdict.setdefault(verdict, []).append(stage.name + why)
    words = {"better": "gained in {}", "worse": "lost in {}"}
    words |= {"no evidence": "{}: no evidence of a change", "refused": "{}: not comparable"}
    return [
        text.format(_and(by_verdict[verdict]))
        for verdict, text in words.items()
        if verdict in by_verdict
    ]


def _why(summaries: Summaries, benchmark: str, stage: Stage) -> str:
    """` by form, it sees worse`, in brackets, where the split of the difference says so."""
    parts = split_of(summaries, benchmark, stage.name, stage.parent)
    what = parts.what if parts is not None else "neither"
    if parts is None or what == "neither":
        return ""
    beside = f", {seen(parts)}" if "form" in what and "answered" not in what else ""
    return f" (by {what.replace('answered', 'answering at all')}{beside})"


def _counted(mine: list[Row]) -> str:
    """Many benchmarks: on how many which verdict against base holds."""
    named: dict[str, list[str]] = {}
    for row in mine:
        if row.base is not None:
            named.setdefault(_verdict(row.base), []).append(row.benchmark)
    told = [f"better than base on {len(named.get('better', []))} of {len(mine)} benchmarks"]
    if worse := named.get("worse"):
        more = f" and {len(worse) - _TOLD} more" if len(worse) > _TOLD else ""
        told.append(f"worse on {len(worse)} ({', '.join(worse[:_TOLD])}{more})")
    else:
        told.append("worse on none")
    if rest := len(mine) - sum(len(named.get(word, [])) for word in ("better", "worse")):
        told.append(f"without evidence of a difference on {rest}")
    return ", ".join(told)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
