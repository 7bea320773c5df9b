"""Several runs side by side: an index of their reports and one leaderboard over all of them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evals.report.crossrun.seeds import Spread, as_dicts, spreads
from evals.report.display import figures
from evals.report.display.plain import plain
from evals.report.facts import rows as board
from evals.report.facts.rows import Row
from evals.report.facts.sentences import written
from evals.report.files import write_text
from evals.report.formats.leaderboard import safe_cell
from evals.report.page.layout import fill, write_page
from evals.report.run import Run, read_run

SCHEMA = 1
# The settings that have to be equal where figures of several runs on a benchmark are compared.
MUST_AGREE = (
    "prompt_hash",
    "data_fingerprint",
    "max_pixels",
    "max_new_tokens",
    "temperature",
    "seed",
    "extra",
    "version",
    "profile",
)


@dataclass(frozen=True)
class Entry:
    """One stage of one run: a row of the common leaderboard."""

    name: str
    run: Run
    link: str
    stage: str
    rows: dict[str, Row]


@dataclass(frozen=True)
class Column:
    """One benchmark over all runs. `unequal` names the settings in which they differ; then its
    figures may not be compared across runs.
    """

    benchmark: str
    unequal: tuple[str, ...]
    best: float | None


def write_index(
    roots: Sequence[Path], out: Path, *, link: Callable[[int], str] | None = None
) -> Path:
    """Writes `index.html` and `leaderboard.{md,csv,json}` over several runs into `out`; returns the
    index. `link` gives the address of a run's page by its number, from 1; by default it is the
    relative path from `out`. Raises: EvalError where one is no run.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    found = [read_run(root) for root in roots]
    names = _names(found)
    for number, (root, run) in enumerate(zip(roots, found, strict=True), start=1):
        page = root.resolve() / "report" / "index.html"
        way = quote(os.path.relpath(page, out.resolve()).replace(os.sep, "/"))
        address = link(number) if link else way
        rows = board.rows(run)
        for stage in run.scored:
            mine = {row.benchmark: row for row in rows if row.stage == stage.name}
            if mine:
                entries.append(Entry(names[number - 1], run, address, stage.name, mine))
    columns = compare_columns(entries)
    seeds = spreads([(run, board.rows(run)) for run in found])
    write_text(out / "leaderboard.json", _json(entries, columns, seeds))
    write_text(out / "leaderboard.csv", _csv(entries, columns))
    write_text(out / "leaderboard.md", _markdown(entries, columns, seeds))
    runs = list({entry.link: entry.run for entry in entries}.items())
    text = fill(
        "crossrun.html.j2",
        folders=[Path(__file__).parent],
        title="Leaderboard",
        entries=entries,
        columns=columns,
        seeds=seeds,
        runs=runs,
        is_running=any(run.is_running for _, run in runs),
    )
    write_page(out, text)
    return out / "index.html"


def compare_columns(entries: Sequence[Entry]) -> list[Column]:
    """The benchmarks of all runs, each with the settings in which the runs differ."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.rows))
    columns = []
    for name in names:
        rows = [entry.rows[name] for entry in entries if name in entry.rows]
        free = board.may_differ([row.settings for row in rows])
        unequal = tuple(
            key
            for key in MUST_AGREE
            if key not in free and len({str(_setting(row, key)) for row in rows}) > 1
        )
        values = [row.value for row in rows if row.value is not None]
        columns.append(Column(name, unequal, None if unequal else max(values, default=None)))
    return columns


def _names(runs: Sequence[Run]) -> list[str]:
    """The names of the runs; with the name of the folder where two runs have the same name."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.root.resolve().name})"
        for name, run in zip(names, runs, strict=True)
    ]


def _setting(row: Row, key: str) -> Any:
    return getattr(row, key) if key in ("version", "profile") else row.settings.get(key)


def _json(entries: Sequence[Entry], columns: Sequence[Column], seeds: Sequence[Spread]) -> str:
    board = {
        "schema": SCHEMA,
        "benchmarks": [
            {"name": column.benchmark, "unequal": list(column.unequal)} for column in columns
        ],
        "seeds": as_dicts(seeds),
        "rows": [
            {
                "run": entry.name,
                "report": entry.link,
                "stage": entry.stage,
                "scores": {
                    name: {
                        "value": row.value,
                        "interval": row.interval,
                        "max": row.max,
                        "part": row.part,
                        "questions": row.n,
                        "contamination": row.contamination,
                    }
                    for name, row in entry.rows.items()
                },
            }
            for entry in entries
        ],
    }
    return json.dumps(board, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(entries: Sequence[Entry], columns: Sequence[Column]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [(c.benchmark, end) for c in columns for end in ("", "_low", "_high")]
    names = [safe_cell(name + end) for name, end in heads]
    writer.writerow(["run", "stage", *names, "schema"])
    for entry in entries:
        cells: list[Any] = [
            safe_cell(entry.run.name),
            safe_cell(entry.stage),
        ]
        for column in columns:
            row = entry.rows.get(column.benchmark)
            cells += [row.value, *(row.interval or (None, None))] if row else [None] * 3
        writer.writerow([*cells, SCHEMA])
    return out.getvalue()


def _cell(row: Row) -> str:
    """A score with the marks that belong beside it."""
    marks = [" **selected on**"] if row.part == "select" else []
    if row.contamination not in ("clean", "unchecked"):
        marks.append(f" **{plain(row.contamination)}**")
    return written(row) + "".join(marks)


def _markdown(entries: Sequence[Entry], columns: Sequence[Column], seeds: Sequence[Spread]) -> str:
    lines = ["# Leaderboard", ""]
    lines.append("| " + " | ".join(["run", "stage", *(plain(c.benchmark) for c in columns)]) + " |")
    lines.append("|---" * (2 + len(columns)) + "|")
    for entry in entries:
        cells = [plain(entry.name), plain(entry.stage)]
        for column in columns:
            row = entry.rows.get(column.benchmark)
            cells.append(_cell(row) if row else figures.NONE)
        lines.append("| " + " | ".join(cells) + " |")
    unlike = [column for column in columns if column.unequal]
    lines += [""] * bool(unlike)
    for column in unlike:
        lines.append(
            f"- **{plain(column.benchmark)}: not comparable between these runs** "
            f"(unequal {plain(', '.join(column.unequal))})"
        )
    if seeds:
        lines += ["", "Over seeds:", ""]
    for one in seeds:
        lines.append(f"- {_over_seeds(one)}")
    return "\n".join([*lines, "", f"Schema {SCHEMA}.", ""])


def _over_seeds(one: Spread) -> str:
    """The spread of one stage over seeds, as one line."""
    scale = one.rows[0].scale
    text = (
        f"**{plain(one.stage)}** on {plain(one.benchmark)}: mean {scale.value(one.mean)}, standard "
        f"deviation {figures.number(scale.factor * one.stdev, 2)} over {len(one.seeds)} seeds"
    )
    if one.mean_change is not None:
        change = scale.difference(one.mean_change)
        text += f"; change against the parent {change} on average, a rise in {one.risen} of them"
    return text
