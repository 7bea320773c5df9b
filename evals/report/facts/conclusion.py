"""The conclusion of a run: its last stage against base, and which of the stages on the way there
made the difference, one sentence per benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass

from evals.report.answers.kept import Summaries, skills_of, split_of
from evals.report.answers.moves import seen
from evals.report.answers.skills import Skill
from evals.report.display.figures import PERCENT
from evals.report.facts.rows import Against, Row
from evals.report.run import Run, Stage

_LISTED = 4  # benchmarks that get a sentence each
_NAMED = 2  # categories
_CLAIMS = {
    "better": "better than",
    "worse": "worse than",
    "no evidence": "not shown to differ from",
    "refused": "not comparable with",
}


@dataclass(frozen=True)
class Conclusion:
    """A sentence alone, or what comes before the lines, and a line per benchmark."""

    lead: str = ""
    lines: tuple[str, ...] = ()


def conclusion(run: Run, rows: list[Row], summaries: Summaries) -> Conclusion:
    """The conclusion, which claims no more than the tables; empty where no stage has been compared.
    A gain or a loss is followed by its main part (answering, form or sight) where the stored
    answers show it.
    """
    found = {(row.stage, row.benchmark): row for row in rows}
    compared = {row.stage for row in rows if row.base}
    kept = [stage for stage in run.scored if not stage.facts.get("rolled_back_to")]
    ends = [stage for stage in kept if stage.name in compared]
    if not ends:
        return Conclusion()
    last = ends[-1]
    line = run.line(last.name)
    mine = [row for row in rows if row.stage == last.name and row.base]
    way = " → ".join(stage.name for stage in line)
    so_far = "So far " if run.is_running else ""
    text = f"{so_far}{last.name} ({way})"
    if len(mine) > _LISTED:
        return Conclusion(f"{text} is {_counted(mine)}.")
    parents = {stage.parent for stage in kept}
    others = [stage for stage in ends[:-1] if stage.name not in parents]
    lines = [_one(run, row, line, found, summaries) for row in mine]
    lines += [_other(run, stage, found, summaries) for stage in others[:_LISTED]]
    return Conclusion(f"{text}:", tuple(lines))


def _other(run: Run, stage: Stage, found: dict[tuple[str, str], Row], summaries: Summaries) -> str:
    """A stage that is not on the way to the last one: its scores, and its verdict against its
    parent.
    """
    scores = []
    for benchmark in run.benchmarks:
        row = found.get((stage.name, benchmark))
        if row is not None and row.value is not None:
            claim = _against_parent(run, row, stage, summaries)
            scores.append(f"{benchmark} {_written(row)}{claim}")
    return f"{stage.name}, from which no later stage starts: {'; '.join(scores)}"


def _against_parent(run: Run, row: Row, stage: Stage, summaries: Summaries) -> str:
    if row.parent is None:
        return ""
    claim = f"{_CLAIMS[_verdict(row.parent)]} {row.parent.stage}"
    return f", {claim}{_why(run, row, stage, summaries)}"


def _written(row: Row) -> str:
    return row.scale.value(row.value) + ("" if row.max == 1 else f" {row.scale.unit}")


def _one(
    run: Run,
    row: Row,
    line: list[Stage],
    found: dict[tuple[str, str], Row],
    summaries: Summaries,
) -> str:
    """One benchmark: its score in base and now, and the stages between that moved it."""
    base = row.base
    assert base is not None
    before = found.get((base.stage, row.benchmark))
    figures = (f"{row.scale.value(before.value)} → " if before else "") + _written(row)
    claim = f"{_CLAIMS[_verdict(base)]} {base.stage}"
    steps = _steps(run, row.benchmark, line, found, summaries)
    return "; ".join([f"{row.benchmark}: {claim}, {figures}", *steps])


def _verdict(against: Against) -> str:
    """The verdict; a comparison that was forced despite unequal settings claims nothing here."""
    return "refused" if against.refused or against.unequal else against.verdict


def _steps(
    run: Run,
    benchmark: str,
    line: list[Stage],
    found: dict[tuple[str, str], Row],
    summaries: Summaries,
) -> list[str]:
    """The stages on the way, grouped by their verdict against the stage before them."""
    by_verdict: dict[str, list[str]] = {}
    for stage in line:
        row = found.get((stage.name, benchmark))
        if row is not None and row.parent is not None:
            why = _why(run, row, stage, summaries)
            by_verdict.setdefault(_verdict(row.parent), []).append(stage.name + why)
    words = {"better": "gained in {}", "worse": "lost in {}"}
    words |= {"no evidence": "{}: no evidence of a change", "refused": "{}: not comparable"}
    return [
        text.format(_and(by_verdict[verdict]))
        for verdict, text in words.items()
        if verdict in by_verdict
    ]


def _why(run: Run, row: Row, stage: Stage, summaries: Summaries) -> str:
    """` (by form, it sees worse on “where is …”)` where a change was shown and the
    stored answers show its parts."""
    parts = split_of(summaries, row.benchmark, stage.name, stage.parent)
    is_shown = row.parent is not None and _verdict(row.parent) in ("better", "worse")
    if not is_shown or parts is None or parts.what == "neither":
        return ""
    what, worse = parts.what, _worse(skills_of(run, stage, row.benchmark, summaries))
    if "answered" in what:
        beyond = parts.is_beyond(row.majority_baseline)
        what = what.replace("answered", "answering" if beyond else "answering at all")
        always = f"always giving the most common answer: {PERCENT.value(row.majority_baseline)}"
        reasons = [f"{what}: {parts.new_answers}", always] if beyond else [what]
    elif "form" in what:
        sight = seen(parts)
        if worse and sight == "it sees worse":
            sight, worse = f"{sight} on {worse}", ""
        reasons = [what, sight]
    else:
        reasons = [what]
    reasons += [f"worse on {worse}"] if worse else []
    return f" (by {', '.join(reasons)})"


def _worse(found: list[Skill]) -> str:
    """The categories that fell in content, two of them by name."""
    named = [skill.category for skill in found if skill.verdict == "worse"]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return _and(named[:_NAMED] + more) if named else ""


def _counted(mine: list[Row]) -> str:
    """Many benchmarks: on how many which verdict against base holds."""
    named: dict[str, list[str]] = {}
    for row in mine:
        if row.base is not None:
            named.setdefault(_verdict(row.base), []).append(row.benchmark)
    counts = [f"better than base on {len(named.get('better', []))} of {len(mine)} benchmarks"]
    if worse := named.get("worse"):
        more = f" and {len(worse) - _LISTED} more" if len(worse) > _LISTED else ""
        counts.append(f"worse on {len(worse)} ({', '.join(worse[:_LISTED])}{more})")
    else:
        counts.append("worse on none")
    if rest := len(mine) - sum(len(named.get(word, [])) for word in ("better", "worse")):
        counts.append(f"without evidence of a difference on {rest}")
    return ", ".join(counts)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
