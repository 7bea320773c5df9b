"""Re-scores stored responses: a pure function of the file. No model, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.base import get_benchmark
from evals.sources import json_rows
from rl.errors import DataError, PlumblineError


def score_file(benchmark: str, path: str | Path, profile: str = "official") -> dict[str, Any]:
    """`{"benchmark", "profile", "version", "metrics", "items": [{"sample_id", "score", "status",
    "parsed"}]}`.

    Raises: DataError naming file:line for a row that cannot be scored, ConfigError for an unknown
    benchmark or profile.
    """
    judge = get_benchmark(benchmark)
    judge.require_profile(profile)
    rows, scores = [], []
    seen: dict[str, int] = {}
    for line, row in json_rows(Path(path)):
        where = f"{path}:{line}"
        if not isinstance(row.get("sample_id"), str | int) or isinstance(row["sample_id"], bool):
            raise DataError(
                f"sample_id is {row.get('sample_id')!r}", where=where, expected="text or an integer"
            )
        name = str(row["sample_id"])
        if name in seen:
            raise DataError(f"sample_id {name!r} stands in line {seen[name]} too", where=where)
        seen[name] = line
        try:
            scores.append(judge.score(row, profile))
        except DataError as error:
            raise DataError(error.what, where=where, expected=error.expected) from error
        rows.append(row)
    if not rows:
        raise DataError("no responses", where=str(path))
    try:
        metrics = judge.aggregate(rows, scores, profile)
    except PlumblineError as error:
        error.where = f"{path}: {error.where}"
        raise DataError(error.what, where=error.where, expected=error.expected) from error
    items = [
        {
            "sample_id": row["sample_id"],
            "score": score.score,
            "status": score.status,
            "parsed": score.parsed,
        }
        for row, score in zip(rows, scores, strict=True)
    ]
    return {
        "benchmark": judge.id,
        "profile": profile,
        "version": judge.version,
        "metrics": metrics,
        "items": items,
    }
