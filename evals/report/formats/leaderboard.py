"""The leaderboard as CSV and JSON. The files do not depend on when they were made."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from typing import Any

from evals.report.facts.rows import Row
from evals.report.facts.spent import stage_cost
from evals.report.run import Run

SCHEMA = 1


def to_json(run: Run, found: list[Row]) -> str:
    """The leaderboard as JSON, with the version of its schema."""
    board = {
        "schema": SCHEMA,
        "run": run.name,
        "stages": [
            {
                "name": stage.name,
                "kind": stage.kind,
                "algorithm": stage.algorithm or None,
                "parent": stage.parent,
                "status": stage.status,
                "steps": stage.steps,
                "seconds": stage_cost(run, stage).seconds,
            }
            for stage in run.stages
        ],
        "rows": [asdict(row) for row in found],
    }
    return json.dumps(board, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(found: list[Row]) -> str:
    """The leaderboard as CSV: one line per row with plain numbers, empty where there is none. The
    last column is the version of the schema.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(name for key in _COLUMNS for name in _names(key)), "schema"])
    for row in found:
        values = [value for key in _COLUMNS for value in _values(row, key)]
        writer.writerow([*map(safe_cell, values), SCHEMA])
    return out.getvalue()


_COLUMNS = [field.name for field in fields(Row) if field.name != "settings"]
_COMPARED = ("difference", "interval", "p_value", "p_holm", "verdict", "mde", "mde_primary")


def _names(key: str) -> list[str]:
    if key in ("parent", "base"):
        return [key, *(name for part in _COMPARED for name in _names(f"{key}_{part}"))]
    if key.endswith("interval"):
        return [key.replace("interval", end) for end in ("low", "high")]
    return [key]


def _values(record: Any, key: str) -> list[Any]:
    value = getattr(record, key, None)
    if key in ("parent", "base"):
        stage = value.stage if value else None
        return [stage, *(item for part in _COMPARED for item in _values(value, part))]
    if key.endswith("interval"):
        return list(value or (None, None))
    return [value]


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would read as a formula is quoted."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return value
