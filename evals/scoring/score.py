"""Re-scores stored responses: a pure function of the file. No model, no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.data.sources import json_rows
from evals.registry import get_benchmark
from evals.scoring.samples import Scored, score_answers
from evals.scoring.stats import stderr, stderr_clustered
from rl.errors import DataError, PlumblineError

_DO = "mend or remove the line (docs/evaluation.md says what a row holds)"


def score_file(benchmark: str, path: str | Path, profile: str | None = None) -> dict[str, Any]:
    """`{"benchmark", "profile", "version", "metrics", "items": [{"sample_id", "score", "status",
    "parsed"}]}`; by the benchmark's default profile where none is named.

    `metrics` also holds the items' `stderr` and `stderr_clustered` (by `cluster_id`; a row without
    one, or with null, is a cluster of its own). Every figure is None where no row has a score.
    Raises: DataError naming file:line for a row that cannot be
    scored, ConfigError for an unknown benchmark or profile.
    """
    judge = get_benchmark(benchmark)
    profile = judge.default_profile if profile is None else profile
    judge.require_profile(profile)
    rows, answers = [], []
    seen: dict[str, int] = {}
    for line, row in json_rows(Path(path)):
        where = f"{path}:{line}"
        if not isinstance(row.get("sample_id"), str | int) or isinstance(row["sample_id"], bool):
            raise DataError(
                f"sample_id is {row.get('sample_id')!r}",
                where=where,
                expected="text or an integer",
                do=_DO,
            )
        name = str(row["sample_id"])
        if name in seen:
            raise DataError(
                f"sample_id {name!r} stands in line {seen[name]} too",
                where=where,
                expected="an answer once (several of one question: `samples`, a list)",
                do="remove one of the two lines",
            )
        seen[name] = line
        try:
            answers.append(score_answers(judge, row, profile))
        except PlumblineError as error:
            raise DataError(
                error.what, where=where, expected=error.expected, do=error.do or _DO
            ) from error
        rows.append(row)
    if not rows:
        raise DataError(
            "no responses", where=str(path), expected="an answer a line", do="check the path"
        )
    try:
        scored = Scored.of(judge, rows, answers)
        metrics = scored.metrics(judge, profile)
    except PlumblineError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise DataError(error.what, where=where, expected=error.expected, do=error.do) from error
    clusters = [_cluster(row) for row in scored.valid.rows]
    metrics["stderr"] = stderr(scored.values) if clusters else None
    metrics["stderr_clustered"] = stderr_clustered(scored.values, clusters) if clusters else None
    items = [
        {
            "sample_id": row["sample_id"],
            "score": score.score,
            "status": score.status,
            "parsed": score.parsed,
        }
        for row, score in zip(rows, scored.scores, strict=True)
    ]
    return {
        "benchmark": judge.id,
        "profile": profile,
        "version": judge.version,
        "metrics": metrics,
        "items": items,
    }


def _cluster(row: Mapping[str, Any]) -> tuple[str, str]:
    cluster = row.get("cluster_id")
    return ("row", str(row["sample_id"])) if cluster is None else ("cluster", str(cluster))
