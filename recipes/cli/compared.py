"""`plumbline compare` on a screen and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evals.report.display.figures import NONE, Scale, p_value
from evals.report.display.plain import plain
from evals.report.records import Primary

HEADINGS = (
    "model",
    "benchmark",
    "pairs (images)",
    "baseline",
    "this",
    "difference",
    "p",
    "p (Holm)",
    "sign test p",
    "detectable",
    "verdict",
)
# Below this many columns the screen gets a table of fewer ones, a comparison in four lines.
_WIDE = 150
_NARROW_HEADINGS = ("model", "benchmark", "baseline\n→ this", "difference", "verdict")
_STYLES = {"better": "green", "worse": "red", "refused": "bold red"}


def show_comparison(compared: Mapping[str, Any], console: Console) -> None:
    """A table, and below it what a reader must know."""
    is_wide = console.width >= _WIDE
    table = Table(
        *(HEADINGS if is_wide else _NARROW_HEADINGS),
        title=_title(compared),
        box=box.HEAVY_HEAD if is_wide else box.SIMPLE_HEAD,
        padding=(0, 1) if is_wide else (0, 1, 1, 0),
    )
    for cells, row in _lines(compared):
        style = _STYLES.get(row.get("verdict", "refused"), "")
        last = Text(cells[-1], style="bold red" if row["unequal"] else style)
        if is_wide:
            table.add_row(*map(Text, cells[:-1]), last)
        else:
            table.add_row(*_narrow(cells, last))
    console.print(table)
    for note, is_alarm in _notes(compared):
        console.print(Text(note, style="bold red" if is_alarm else ""))


def markdown_of(compared: Mapping[str, Any]) -> str:
    """The same as Markdown: unequal settings are in bold."""
    out = [f"## {plain(_title(compared))}", "", f"| {' | '.join(HEADINGS)} |"]
    out.append("|---" * len(HEADINGS) + "|")
    for cells, row in _lines(compared):
        shown = [plain(cell) for cell in cells]
        shown[-1] = f"**{shown[-1]}**" if row["unequal"] else shown[-1]
        out.append(f"| {' | '.join(shown)} |")
    notes = [f"- **{plain(n)}**" if alarm else f"- {plain(n)}" for n, alarm in _notes(compared)]
    return "\n".join([*out, "", *notes]).rstrip() + "\n"


def _title(compared: Mapping[str, Any]) -> str:
    return f"against {compared['baseline']['label']}, {compared['part']} part"


def _lines(compared: Mapping[str, Any]) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    for side in compared["comparisons"]:
        for row in side["benchmarks"]:
            yield [side["label"], row["benchmark"], *_cells(row)], row


def _cells(row: Mapping[str, Any]) -> list[str]:
    if "difference" not in row:
        return [NONE] * 8 + ["not compared" if row["state"] == "refused" else "nothing to pair"]
    scale = Scale.of(Primary(name=row["metric"], max=row["max"]))
    low, high = row["interval"]
    interval = (low, high)
    verdict = row["verdict"]
    return [
        f"{row['n']} ({row['clusters']})",
        scale.value(row["values"]["baseline"]),
        scale.value(row["values"]["this"]),
        f"{scale.difference(row['difference'])} {scale.interval(interval)}",
        _p(row["p_value"]),
        _p(row["p_holm"]),
        NONE if row["sign_test_p"] is None else _p(row["sign_test_p"]),
        scale.difference(row["mde_primary"]).removeprefix("+"),
        f"{verdict}, unequal settings" if row["state"] == "forced" else verdict,
    ]


def _narrow(cells: Sequence[str], verdict: Text) -> Iterator[Text]:
    """The same cells, those that belong together below one another."""
    model, benchmark, pairs, before, after, difference, p, p_holm, sign, detectable, _ = cells
    yield Text(model, overflow="fold")
    if difference == NONE:
        yield from (Text(benchmark), Text(NONE), Text(NONE), verdict)
        return
    change, _, interval = difference.partition(" [")
    yield Text(f"{benchmark}\n{pairs}")
    yield Text(f"{before}\n→ {after}")
    yield Text(f"{change}\n[{interval}\ndetectable {detectable}")
    yield verdict.append(
        f"\np {p}\nHolm {p_holm}" + (f"\nsign test {sign}" if sign != NONE else "")
    )


def _p(value: float) -> str:
    return p_value(value).removeprefix("p=").removeprefix("p")


def _notes(compared: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(line, whether it is an alarm)."""
    yield (
        "Differences are this - baseline on the questions that both answered, with 95 % intervals "
        "of the paired bootstrap, images as clusters; detectable: seen 4 times in 5.",
        False,
    )
    for side in compared["comparisons"]:
        for row in side["benchmarks"]:
            name = f"{side['label']}, {row['benchmark']}"
            for item in row["unequal"]:
                yield f"{name}: {item['text']}", True
            for note in row["noted"]:
                yield f"{name}: {note}", False
            for run, key in (("the baseline", "only_baseline"), (side["label"], "only_this")):
                if ids := row.get("unpaired", {}).get(key):
                    yield (
                        f"{name}: {len(ids)} questions only in {run}, left out (first {ids[0]})",
                        False,
                    )
        for key, run in (("only_baseline", "the baseline"), ("only_this", side["label"])):
            if side[key]:
                yield f"{', '.join(side[key])}: only {run} was asked", False
