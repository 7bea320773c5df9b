"""The second and third layer: `scores.jsonl` from responses, and `result.json` with parts,
comparisons and the gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evals.base import PARTS, Benchmark, ItemScore, mean_of
from evals.contamination import Overlap
from evals.gates import Gate, GateConfig, decide
from evals.generate import json_line, read_responses, replace_file, write_json
from evals.judge import JUDGE_ERROR, JUDGEMENT, Judged
from evals.samples import score_row, summary
from evals.stats import (
    Floats,
    Statistic,
    bootstrap,
    cluster_rows,
    minimum_detectable_effect,
    paired_bootstrap,
    sign_test,
    stderr,
    stderr_clustered,
)
from rl.errors import DataError, EvalError

SCORES, RESULT = "scores.jsonl", "result.json"
MAX_ERROR_SHARE = 0.01
_ALPHA = 0.05
# A comparison is refused where one of these differs.
_MUST_AGREE = (
    "prompt_hash",
    "data_fingerprint",
    "max_pixels",
    "max_new_tokens",
    "temperature",
    "n",
    "seed",
    "chat_template",
)


@dataclass(frozen=True)
class Scored:
    """The rows of one part with their scores, in order."""

    rows: Sequence[Mapping[str, Any]]
    scores: Sequence[ItemScore]

    def only(self, part: str) -> Scored:
        """The rows of one part."""
        kept = [number for number, row in enumerate(self.rows) if row["part"] == part]
        return Scored([self.rows[n] for n in kept], [self.scores[n] for n in kept])

    @property
    def valid(self) -> Scored:
        """Without the errors of ours."""
        kept = [n for n, score in enumerate(self.scores) if score.score is not None]
        return Scored([self.rows[n] for n in kept], [self.scores[n] for n in kept])

    @property
    def values(self) -> list[float]:
        return [score.score for score in self.scores if score.score is not None]


def score_folder(folder: Path, benchmark: Benchmark, profile: str = "official") -> Scored:
    """Scores `responses.jsonl` into `scores.jsonl`; no model. Raises: EvalError, DataError."""
    _, rows = read_responses(folder)
    scores = [score_row(benchmark, row, profile) for row in rows]
    lines = [
        {
            "sample_id": row["sample_id"],
            "cluster_id": row["cluster_id"],
            "part": row["part"],
            "category": row["category"],
            "score": score.score,
            "status": score.status,
            "parsed": score.parsed,
        }
        for row, score in zip(rows, scores, strict=True)
    ]
    replace_file(folder / SCORES, b"".join(map(json_line, lines)))
    return Scored(rows, scores)


def write_result(
    folder: Path,
    benchmark: Benchmark,
    *,
    stage: str,
    gate: GateConfig,
    parent: Path | None = None,
    base: Path | None = None,
    profile: str = "official",
    contamination: Overlap | None = None,
    seed: int = 0,
    force: bool = False,
) -> dict[str, Any]:
    """Scores the folder, compares it with `parent` and `base` (evaluation folders
    `<stage>/<benchmark>`), writes `result.json`.

    `force` compares even where settings differ (the report marks it). Gives the result's contents.
    Raises: EvalError where more than 1 % of the answers are errors of ours.
    """
    header, _ = read_responses(folder)
    benchmark = benchmark.for_profile(profile)
    ours = score_folder(folder, benchmark, profile)
    _require_valid(ours, f"stage {stage}, benchmark {benchmark.id}")
    parts = {
        part: _part(benchmark, ours.only(part), profile, seed)
        for part in PARTS
        if ours.only(part).rows
    }
    comparisons = {
        whom: _compare_with(other, header, ours, benchmark, profile, seed, force)
        for whom, other in (("parent", parent), ("base", base))
        if other is not None
    }
    selected = ours.only("select").valid
    max_score = benchmark.max_score(ours.rows)
    decision: Gate = decide(
        comparisons, max_score=max_score, config=gate, num_questions=len(selected.rows)
    )
    settings = header["settings"]
    result = {
        "schema": 1,
        "benchmark": benchmark.id,
        "version": benchmark.version,
        "profile": profile,
        "stage": stage,
        "base_stage": base.parent.name if base is not None else None,
        "parent_stage": parent.parent.name if parent is not None else None,
        "settings": settings,
        "weights": header["weights"],
        "primary": {"name": benchmark.primary_name, "max": max_score, "unit": ""},
        "parts": parts,
        "comparisons": comparisons,
        "gate": decision.as_dict(),
        "cost": _cost(ours.rows),
        "judge": header.get("judge"),
        "contamination": {
            "checked": contamination is not None,
            "overlap_images": contamination.num_images if contamination is not None else 0,
        },
    }
    write_json(folder / RESULT, result)
    return result


def compare(
    ours: Scored, theirs: Scored, benchmark: Benchmark, *, seed: int = 0
) -> dict[str, Any] | None:
    """The paired comparison ours - theirs over the questions that both answered; None where there
    is none.

    Raises: EvalError where the two were not asked the same questions.
    """
    index = {row["sample_id"]: number for number, row in enumerate(theirs.rows)}
    if set(index) != {row["sample_id"] for row in ours.rows}:
        raise EvalError("not the same questions", where=f"comparison on {benchmark.id}")
    order = [index[row["sample_id"]] for row in ours.rows]
    both = [
        (row, score, theirs.rows[at], theirs.scores[at])
        for row, score, at in zip(ours.rows, ours.scores, order, strict=True)
    ]
    # A question that failed on one side leaves the other side too: its score is blanked there.
    blank = ItemScore(None, "error")
    usable = [a.score is not None and b.score is not None for _, a, _, b in both]
    a = Scored(
        [row for row, *_ in both],
        [score if ok else blank for (_, score, *_), ok in zip(both, usable, strict=True)],
    )
    b = Scored(
        [row for _, _, row, _ in both],
        [score if ok else blank for (*_, score), ok in zip(both, usable, strict=True)],
    )
    if not any(usable):
        return None
    layout = benchmark.layout(a.rows)
    primary, accuracy = paired_bootstrap(
        _sums(benchmark, a, layout), _sums(benchmark, b, layout), _statistics(benchmark), seed=seed
    )
    a_valid, b_valid = a.valid, b.valid
    wins = sum(x > y for x, y in zip(a_valid.values, b_valid.values, strict=True))
    losses = sum(x < y for x, y in zip(a_valid.values, b_valid.values, strict=True))
    return {
        "difference": primary.value,
        "interval": [primary.low, primary.high],
        "lower_bound": primary.lower_bound,
        "upper_bound": primary.upper_bound,
        "stderr": primary.stderr,
        "p_value": primary.p_value,
        "accuracy_difference": accuracy.value,
        "accuracy_interval": [accuracy.low, accuracy.high],
        "accuracy_p_value": accuracy.p_value,
        "sign_test_p": sign_test(wins, losses),
        "verdict": _verdict(primary.value, primary.p_value),
        "mde": minimum_detectable_effect(accuracy.stderr),
        "flips": _flips(benchmark, a_valid, b_valid),
        "flips_by_category": {
            category: _flips(benchmark, _in(a_valid, category), _in(b_valid, category))
            for category in sorted({row["category"] for row in a_valid.rows})
        },
        "decomposition": {
            key: [_figures(benchmark, b_valid)[key], value] if value is not None else None
            for key, value in _figures(benchmark, a_valid).items()
        },
    }


def _compare_with(
    other: Path,
    header: Mapping[str, Any],
    ours: Scored,
    benchmark: Benchmark,
    profile: str,
    seed: int,
    force: bool,
) -> dict[str, Any]:
    their_header, rows = read_responses(other)
    against: dict[str, Any] = {"stage": other.parent.name, "select": None, "report": None}
    refusal = _refusal(header, their_header)
    if refusal:
        against["refused"] = refusal
        if not force:
            return against
    theirs = Scored(rows, [score_row(benchmark, row, profile) for row in rows])
    for part in PARTS:
        if ours.only(part).rows:
            against[part] = compare(ours.only(part), theirs.only(part), benchmark, seed=seed)
    return against


def _refusal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    if ours["version"] != theirs["version"]:
        return f"benchmark version differs: {theirs['version']} and {ours['version']}"
    for key in _MUST_AGREE:
        default = 1 if key == "n" else None
        a, b = (side["settings"].get(key, default) for side in (theirs, ours))
        if a != b:
            return f"{key} differs: {a} and {b}"
    return ""


def _part(benchmark: Benchmark, part: Scored, profile: str, seed: int) -> dict[str, Any]:
    metrics = benchmark.aggregate(part.rows, part.scores, profile)
    valid = part.valid
    clusters = [row["cluster_id"] for row in valid.rows]
    categories = sorted({row["category"] for row in part.rows})
    layout = benchmark.layout(part.rows)
    primary_SK = _sums(benchmark, part, layout)
    by_category_CK = _category_sums(part, categories)
    width = primary_SK.shape[1]

    def everything(totals: Floats) -> Floats:
        counts = totals[..., width:].reshape(*totals.shape[:-1], -1, 2)
        shares = counts[..., 0] / np.maximum(counts[..., 1], 1)
        both: Floats = np.concatenate([_statistics(benchmark)(totals[..., :width]), shares], -1)
        return both

    sums_CK = np.concatenate([primary_SK, by_category_CK], axis=1)
    primary, accuracy, *per_category = bootstrap(sums_CK, everything, seed=seed)
    always = _always(benchmark, part, profile)
    figures = _figures(benchmark, valid)
    return {
        "n": len(part.rows),
        "clusters": len(set(clusters)),
        "errors": len(part.rows) - len(valid.rows),
        "value": benchmark.primary(metrics),
        "accuracy": mean_of(part.scores),
        "stderr": stderr(valid.values),
        "stderr_clustered": stderr_clustered(valid.values, clusters),
        "interval": [primary.low, primary.high],
        "accuracy_interval": [accuracy.low, accuracy.high],
        "majority_baseline": mean_of(always) if always else None,
        "majority_value": (
            benchmark.primary(benchmark.aggregate(part.rows, always, profile)) if always else None
        ),
        "random_baseline": benchmark.random_baseline(valid.rows),
        "parse_rate": figures["parse_rate"],
        "truncated_share": figures["truncated"],
        "mean_tokens": figures["mean_tokens"],
        "sampling": summary(benchmark, part.rows, profile),
        "metrics": metrics,
        "categories": {
            category: {
                "n": sum(row["category"] == category for row in valid.rows),
                "accuracy": interval.value,
                "interval": [interval.low, interval.high],
            }
            for category, interval in zip(categories, per_category, strict=True)
        },
    }


def _always(benchmark: Benchmark, part: Scored, profile: str) -> list[ItemScore]:
    """The scores of always giving the answer that is most often the most frequent reference; none
    where only a judge could tell.
    """
    answers = [benchmark.gold(row) for row in part.rows]
    common = max(sorted(set(answers)), key=answers.count)
    # What a judge wrote was written of another answer.
    unjudged = {"response": common, "error": None, JUDGEMENT: None, JUDGE_ERROR: None}
    try:
        return [benchmark.score({**row, **unjudged}, profile) for row in part.rows]
    except DataError:
        if isinstance(benchmark, Judged):
            return []
        raise


def _sums(benchmark: Benchmark, part: Scored, layout: Sequence[str]) -> Floats:
    """The benchmark's sufficient statistics, and behind them the accuracy's: [C, K + 2]."""
    names, sums_CK = benchmark.sums(part.rows, part.scores, layout)
    rows_N2 = np.array(
        [[0.0, 0.0] if score.score is None else [score.score, 1.0] for score in part.scores]
    )
    clusters, accuracy_C2 = cluster_rows([str(row["cluster_id"]) for row in part.rows], rows_N2)
    assert names == clusters, "a benchmark lists clusters in order of first appearance"
    return np.concatenate([sums_CK, accuracy_C2], axis=1)


def _statistics(benchmark: Benchmark) -> Statistic:
    """Primary statistic and accuracy of the totals that `_sums` lays out."""

    def both(totals: Floats) -> Floats:
        accuracy = totals[..., -2] / np.maximum(totals[..., -1], 1)
        return np.stack([benchmark.statistic(totals[..., :-2]), accuracy], axis=-1)

    return both


def _category_sums(part: Scored, categories: Sequence[str]) -> Floats:
    rows_NK = np.zeros((len(part.rows), 2 * len(categories)))
    for number, (row, score) in enumerate(zip(part.rows, part.scores, strict=True)):
        if score.score is not None:
            at = 2 * categories.index(row["category"])
            rows_NK[number, at : at + 2] = (score.score, 1.0)
    return cluster_rows([row["cluster_id"] for row in part.rows], rows_NK)[1]


def _figures(benchmark: Benchmark, valid: Scored) -> dict[str, float | None]:
    """What a difference is split into."""
    n = max(1, len(valid.rows))
    return {
        "parse_rate": sum(map(benchmark.is_parsed, valid.scores)) / n,
        "truncated": sum(score.status == "truncated" for score in valid.scores) / n,
        "mean_tokens": sum(row.get("num_tokens", 0) for row in valid.rows) / n,
        "yes_ratio": benchmark.yes_ratio(valid.scores),
    }


def _in(scored: Scored, category: str) -> Scored:
    kept = [n for n, row in enumerate(scored.rows) if row["category"] == category]
    return Scored([scored.rows[n] for n in kept], [scored.scores[n] for n in kept])


def _flips(benchmark: Benchmark, ours: Scored, theirs: Scored) -> dict[str, int]:
    """Questions that changed sides; for a graded score, ones that got worse or better."""
    pairs = list(zip(ours.scores, theirs.scores, strict=True))
    parsed = [(benchmark.is_parsed(a), benchmark.is_parsed(b)) for a, b in pairs]
    values = list(zip(ours.values, theirs.values, strict=True))
    return {
        "right_to_wrong": sum(a < b for a, b in values),
        "wrong_to_right": sum(a > b for a, b in values),
        "unparsed_to_parsed": sum(a and not b for a, b in parsed),
        "parsed_to_unparsed": sum(b and not a for a, b in parsed),
    }


def _verdict(difference: float, p_value: float) -> str:
    if p_value >= _ALPHA or difference == 0:
        return "no evidence"
    return "better" if difference > 0 else "worse"


def _cost(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "seconds": round(sum(row.get("seconds", 0.0) for row in rows), 3),
        "prompt_tokens": sum(row.get("prompt_tokens", 0) for row in rows),
        "new_tokens": sum(row.get("num_tokens", 0) for row in rows),
        "questions": len(rows),
    }


def _require_valid(scored: Scored, where: str) -> None:
    errors = [row for row in scored.rows if row.get("error")]
    if len(errors) > MAX_ERROR_SHARE * len(scored.rows):
        raise EvalError(
            f"{len(errors)} of {len(scored.rows)} answers are errors; the first "
            f"({errors[0]['sample_id']}): {errors[0]['error']}",
            where=where,
            expected=f"at most {MAX_ERROR_SHARE:.0%}",
        )
