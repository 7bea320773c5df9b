"""The leaderboard as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.report.display.figures import NONE, PERCENT, count, number, p_value
from evals.report.display.plain import plain
from evals.report.facts.about import about
from evals.report.facts.rows import Against, Row
from evals.report.facts.sentences import detectable, verdicts
from evals.report.formats.leaderboard import SCHEMA
from evals.report.run import Run

if TYPE_CHECKING:
    from evals.report.facts.conclusion import Conclusion

HEADINGS = (
    "stage",
    "score",
    "accuracy",
    "against parent",
    "against base",
    "smallest detectable",
    "gate",
    "training rows",
)


def to_markdown(run: Run, found: list[Row], conclusion: Conclusion) -> str:
    """The leaderboard as Markdown: the run's conclusion, a sentence per stage, and a table per
    benchmark with notes in its rows.
    """
    out = [f"# {plain(run.name)}", ""]
    out += [f"{plain(conclusion.lead)}\n"] if conclusion.lead else []
    out += [f"- {plain(line)}" for line in conclusion.lines] + ([""] if conclusion.lines else [])
    out += [f"{plain(text)}\n" for text in about(run)]
    for sentence in verdicts(run, found):
        out.append(f"- **{plain(sentence.stage)}**: {plain(sentence.text)}")
    out.append("")
    for benchmark in run.benchmarks:
        mine = [row for row in found if row.benchmark == benchmark]
        if mine:
            out += _section(benchmark, mine)
    if not found:
        out += ["No stage has been evaluated yet.", ""]
    out += [f"- Not read: {plain(problem)}" for problem in run.problems]
    return "\n".join(out).rstrip("\n") + f"\n\nSchema {SCHEMA}.\n"


def _section(benchmark: str, mine: list[Row]) -> list[str]:
    first = mine[0]
    parts = " and ".join(sorted({row.part for row in mine}))
    majority = PERCENT.value(first.majority_baseline)
    guessing = ""
    if first.random_baseline is not None:
        guessing = f", guessing scores {first.scale.value(first.random_baseline)}"
    unit = "percent" if first.max == 1 else f"of {number(first.max, 0)}"
    head = [
        f"## {plain(benchmark)}",
        "",
        f"{plain(first.metric)}, {unit}; {parts} part, {count(first.n)} questions on "
        f"{count(first.images)} images; always giving the most common answer: "
        f"{majority} right{guessing}. Intervals are 95 %, images as clusters; "
        "p-values adjusted (Holm) over the stage's benchmarks.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    return [*head, *map(_line, mine), ""]


def _line(row: Row) -> str:
    against = row.parent or row.base
    cells = [
        plain(row.stage),
        _with(row.scale.value(row.value), row.scale.interval(row.interval)),
        _with(
            PERCENT.value(row.accuracy),
            PERCENT.interval(row.accuracy_interval),
        ),
        _cell_against(row, row.parent),
        _cell_against(row, row.base),
        "; ".join(map(" ".join, detectable(row, against) if against else ())) or NONE,
        row.gate or NONE,
        row.contamination if row.contamination == "clean" else f"**{row.contamination}**",
    ]
    if row.part == "select":
        cells[1] += " (selected on)"
    if not row.is_engine_compared:
        cells[1] += " (**engine not compared with the model**)"
    if row.errors:
        cells[1] += f" ({count(row.errors)} errors left out)"
    return "| " + " | ".join(cells) + " |"


def _cell_against(row: Row, against: Against | None) -> str:
    if against is None:
        return NONE
    if against.refused and against.difference is None:
        return f"{plain(against.stage)}: **not compared** ({plain(against.refused)})"
    difference = _with(
        row.scale.difference(against.difference),
        row.scale.interval(against.interval),
    )
    text = f"{plain(against.stage)} {difference} {p_value(against.p_holm)}".rstrip()
    text += f", {against.verdict}"
    if against.refused:
        text += f" (**not comparable: {plain(against.refused)}**)"
    elif against.unequal:
        text += f" (**unequal: {plain(', '.join(against.unequal))}**)"
    return text


def _with(value: str, interval: str) -> str:
    return f"{value} {interval}".rstrip()
