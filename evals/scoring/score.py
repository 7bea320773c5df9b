"""`plumbline score`: scores a file of stored answers. A pure function of the file: no model, no
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.asking.responses import torn_notice
from evals.base import Benchmark
from evals.data.items import ItemScore
from evals.data.jsonl import json_rows
from evals.registry import get_benchmark
from evals.scoring.samples import Scored, score_answers
from evals.scoring.stats import stderr, stderr_clustered
from rl.errors import DataError, PlumblineError

_DO = "fix or remove the line (docs/evaluation.md says what a row holds)"


def score_file(benchmark: str, path: str | Path, profile: str | None = None) -> dict[str, Any]:
    """The scores of a JSONL file, as one JSON object:

        {"benchmark": "mme", "profile": "official", "version": "1", "metrics": {"total": ...},
         "items": [{"sample_id": "a", "score": 1.0, "status": "ok", "parsed": "yes"}, ...]}

    `profile` is the scoring rule; by default the benchmark's. `metrics` also holds `stderr` and
    `stderr_clustered` of the items' scores; clusters are named by `cluster_id`, and a row without
    one, or with null, is a cluster of its own. Every figure is None where no row has a score.

    A torn last line (its writer was killed) is left out, with a sentence on standard error. Raises:
    DataError naming file:line for a row that cannot be scored, ConfigError for an unknown benchmark
    or profile.
    """
    bench = get_benchmark(benchmark)
    profile = bench.default_profile if profile is None else profile
    bench.require_profile(profile)
    rows, answers = _score_rows(bench, Path(path), profile)
    try:
        scored = Scored.of(bench, rows, answers)
        metrics = scored.metrics(bench, profile)
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
        "benchmark": bench.id,
        "profile": profile,
        "version": bench.version,
        "metrics": metrics,
        "items": items,
    }


def _score_rows(
    bench: Benchmark, path: Path, profile: str
) -> tuple[list[dict[str, Any]], list[list[ItemScore]]]:
    """The file's rows and the verdicts on their answers. Raises: DataError naming file:line."""
    rows: list[dict[str, Any]] = []
    answers: list[list[ItemScore]] = []
    seen: dict[str, int] = {}
    for line, row in json_rows(path, on_torn=torn_notice(path)):
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
                f"sample_id {name!r} is on line {seen[name]:,} too",
                where=where,
                expected="an answer once (several of one question: `samples`, a list)",
                do="remove one of the two lines",
            )
        seen[name] = line
        try:
            answers.append(score_answers(bench, row, profile))
        except PlumblineError as error:
            raise DataError(
                error.what, where=where, expected=error.expected, do=error.do or _DO
            ) from error
        rows.append(row)
    if not rows:
        raise DataError(
            "no responses", where=str(path), expected="an answer a line", do="check the path"
        )
    return rows, answers


def _cluster(row: Mapping[str, Any]) -> tuple[str, str]:
    """The row's cluster. The tag keeps a row's own cluster apart from one named like its id."""
    cluster = row.get("cluster_id")
    return ("row", str(row["sample_id"])) if cluster is None else ("cluster", str(cluster))
