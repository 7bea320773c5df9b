"""From answers to an evaluation's result.

    responses.jsonl --score_folder--> scores.jsonl     one verdict a question
                    --write_result--> result.json      figures of both parts, comparisons, the gate

Both are functions of files: they start no model, and can be repeated at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evals.accuracy import cell_sums
from evals.asking.judge import JUDGE_ERROR, JUDGEMENT, Judged, failure
from evals.asking.responses import (
    RESPONSES,
    json_line,
    read_responses,
    replace_file,
    require_needed,
    write_json,
)
from evals.base import Benchmark
from evals.contamination.search import Overlap
from evals.data.items import PARTS, ItemScore, cluster_id_of
from evals.decisions.gate import Gate, GateConfig, decide
from evals.scoring.paired import (
    compare,
    figures_of,
    round_sums,
    statistics,
    strata_of,
    unequal_settings,
)
from evals.scoring.samples import Scored, answer_rows, score_rows, summary
from evals.scoring.stats import Floats, bootstrap, stderr, stderr_clustered
from rl.errors import DataError, EvalError

SCORES, RESULT = "scores.jsonl", "result.json"
MAX_ERROR_SHARE = 0.01


def score_folder(
    folder: Path,
    benchmark: Benchmark,
    profile: str = "official",
    contamination: Overlap | None = None,
) -> Scored:
    """Scores `responses.jsonl` into `scores.jsonl`. A question that is in the training data
    (`contamination`) has `flags` there. Raises: EvalError where a row lacks its part, cluster or
    category; DataError where the rule cannot read a row.
    """
    flags = contamination.flags if contamination is not None else {}
    _, rows = read_responses(folder)
    require_needed(rows, str(folder / RESPONSES))
    scored = score_rows(benchmark, rows, profile)
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
        | ({"flags": list(flags[row["sample_id"]].kinds)} if row["sample_id"] in flags else {})
        for row, score in zip(rows, scored.scores, strict=True)
    ]
    replace_file(folder / SCORES, b"".join(map(json_line, lines)))
    return scored


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """How a stage's result is made.

        evals = Path("runs/a/evals")
        options = ResultOptions(stage="sft", gate=GateConfig(), parent=evals / "base/mme")
        write_result(evals / "sft/mme", benchmark, options)["gate"]["verdict"]      # "pass"

    stage: its name.
    gate: how much of the parent's score the stage may lose.
    parent, base: the folders `<stage>/<benchmark>` of the stages to compare with.
    profile: whose scoring rule.
    seed: of the resamples behind intervals and tests.
    force: compares even where settings differ, which the report marks.
    """

    stage: str
    gate: GateConfig
    parent: Path | None = None
    base: Path | None = None
    profile: str = "official"
    seed: int = 0
    force: bool = False


def write_result(
    folder: Path,
    benchmark: Benchmark,
    options: ResultOptions,
    *,
    contamination: Overlap | None = None,
    parity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores the folder, compares it with the parent and the base, writes `result.json` and returns
    its contents.

    contamination: which questions are in the training data; None where nothing was looked for.
    parity: what the parity gate found of the engine that answered (`against`: the learner, a plain
        forward, or null where nothing was compared; `max`, `mean`, `tokens`); None where there is
        nothing to compare.

    Raises: EvalError where more than 1 % of the answers failed on our side, in the judge included.
    """
    header, _ = read_responses(folder)
    profile, seed, base, parent = options.profile, options.seed, options.base, options.parent
    benchmark = benchmark.for_profile(profile)
    ours = score_folder(folder, benchmark, profile, contamination)
    require_valid(ours, f"stage {options.stage}, benchmark {benchmark.id}")
    parts = {
        part: _part(benchmark, ours.only(part), profile, seed)
        for part in PARTS
        if ours.only(part).rows
    }
    comparisons = {
        role: _compare_with(other, header, ours, benchmark, options)
        for role, other in (("parent", parent), ("base", base))
        if other is not None
    }
    selected = ours.only("select")
    # Where the statistic is a count (OCRBench), its maximum is the number of questions: the gate
    # reads the `select` questions alone, so their number is the maximum that it takes.
    decision: Gate = decide(
        comparisons,
        max_score=benchmark.max_score((selected if selected.rows else ours).rows),
        config=options.gate,
        num_questions=len(selected.valid.rows),
    )
    settings = header["settings"]
    result = {
        "schema": 1,
        "benchmark": benchmark.id,
        "version": benchmark.version,
        "profile": profile,
        "stage": options.stage,
        "base_stage": base.parent.name if base is not None else None,
        "parent_stage": parent.parent.name if parent is not None else None,
        "settings": settings,
        "weights": header["weights"],
        "primary": {
            "name": benchmark.primary_name,
            "max": benchmark.max_score(ours.rows),
            "unit": "",
        },
        "parts": parts,
        "comparisons": comparisons,
        "gate": decision.as_dict(),
        "cost": _cost(ours.rows),
        "judge": header.get("judge"),
        "parity": None if parity is None else dict(parity),
        "contamination": _contaminated(benchmark, ours, contamination, profile, seed),
    }
    write_json(folder / RESULT, result)
    return result


def _compare_with(
    other: Path,
    header: Mapping[str, Any],
    ours: Scored,
    benchmark: Benchmark,
    options: ResultOptions,
) -> dict[str, Any]:
    """The comparison with another stage, part by part; or why it is refused."""
    their_header, rows = read_responses(other)
    require_needed(rows, str(other / RESPONSES))
    against: dict[str, Any] = {"stage": other.parent.name, "select": None, "report": None}
    unequal = unequal_settings((header, ours.rows), (their_header, rows))
    if unequal:
        against["refused"] = str(unequal[0])
        against["unequal"] = [item._asdict() for item in unequal]
        if not options.force:
            return against
    theirs = score_rows(benchmark, rows, options.profile)
    for part in PARTS:
        if ours.only(part).rows:
            mine, other_part = ours.only(part), theirs.only(part)
            against[part] = compare(mine, other_part, benchmark, seed=options.seed)
    return against


def _part(benchmark: Benchmark, part: Scored, profile: str, seed: int) -> dict[str, Any]:
    """The figures of one part. Each is a mean over rounds of answers (`evals.scoring.samples`), and
    None where nothing has a score.
    """
    valid = part.valid
    is_scored = bool(valid.rows)
    counts = Counter(row["category"] for row in valid.rows)
    clusters = [cluster_id_of(row) for row in valid.rows]
    categories = sorted({row["category"] for row in part.rows})
    layout = benchmark.layout(part.rows)
    cells = [categories.index(row["category"]) for row in part.rows]
    width = 2 * len(categories)

    # The benchmark's own statistic, the accuracy and every category's mean are resampled together:
    # the columns of all three side by side, then one function that reads its own columns.
    def everything_of(scores: Sequence[ItemScore]) -> Floats:
        by_category_CK = cell_sums(part.rows, scores, cells, len(categories))[1]
        return np.concatenate(
            [round_sums(benchmark, part.rows, scores, layout), by_category_CK], axis=1
        )

    def everything(totals: Floats) -> Floats:
        cells = totals[..., -width:].reshape(*totals.shape[:-1], -1, 2)
        shares = cells[..., 0] / np.maximum(cells[..., 1], 1)
        both: Floats = np.concatenate([statistics(benchmark)(totals[..., :-width]), shares], -1)
        return both

    primary, accuracy, *per_category = bootstrap(
        part.sums(everything_of),
        part.statistic(everything),
        strata=strata_of(part, layout),
        seed=seed,
    )
    always = _always(benchmark, part, profile)
    figures = figures_of(benchmark, valid)
    value = part.value(benchmark, profile)
    return {
        "n": len(part.rows),
        "clusters": len(set(clusters)),
        "errors": len(part.rows) - len(valid.rows),
        "value": value,
        "max": benchmark.max_score(part.rows),
        "accuracy": part.accuracy,
        "stderr": stderr(valid.values) if is_scored else None,
        "stderr_clustered": stderr_clustered(valid.values, clusters) if is_scored else None,
        "interval": [primary.low, primary.high] if value is not None else None,
        "accuracy_interval": [accuracy.low, accuracy.high] if is_scored else None,
        "majority_baseline": always.accuracy if always else None,
        "majority_value": always.value(benchmark, profile) if always else None,
        "random_baseline": benchmark.random_baseline(valid.rows) if is_scored else None,
        "parse_rate": figures["parse_rate"],
        "truncated_share": figures["truncated"],
        "mean_tokens": figures["mean_tokens"],
        "sampling": summary(benchmark, part, profile),
        "metrics": part.metrics(benchmark, profile),
        "categories": {
            category: {
                "n": counts[category],
                "accuracy": interval.value if counts[category] else None,
                "interval": [interval.low, interval.high] if counts[category] else None,
            }
            for category, interval in zip(categories, per_category, strict=True)
        },
    }


def _contaminated(
    benchmark: Benchmark, ours: Scored, overlap: Overlap | None, profile: str, seed: int
) -> dict[str, Any]:
    """Which of these questions are in the training data, and every part's score without them. The
    other questions about a flagged question's image are left out too.
    """
    if overlap is None:
        return {"checked": False, "overlap_images": 0, "flagged": {}, "without": {}}
    ids = {row["sample_id"] for row in ours.rows}
    flagged = {uid: flag.as_dict() for uid, flag in overlap.flags.items() if uid in ids}
    known = {row["cluster_id"] for row in ours.rows if row["sample_id"] in flagged}
    clean = ours.at([n for n, row in enumerate(ours.rows) if row["cluster_id"] not in known])
    without = {}
    for part in PARTS if flagged else ():
        if (kept := clean.only(part)).valid.rows:
            figures = _part(benchmark, kept, profile, seed)
            keys = ("n", "clusters", "value", "max", "interval", "accuracy", "accuracy_interval")
            without[part] = {
                **{key: figures[key] for key in keys},
                "left_out": len(ours.only(part).rows) - len(kept.rows),
            }
    return {
        "checked": True,
        "overlap_images": overlap.num_images,
        "flagged": flagged,
        "without": without,
    }


def _always(benchmark: Benchmark, part: Scored, profile: str) -> Scored | None:
    """The scores of a model that gives one answer to everything, the most frequent
    reference. None where only a judge could score it.
    """
    answers = [benchmark.gold(row) for row in part.rows]
    counts = Counter(answers)
    common = min(counts, key=lambda answer: (-counts[answer], answer))
    # The stored judgement is about the model's answer, so it is taken out.
    same_answer = {"response": common, "samples": None, "error": None}
    unjudged = {JUDGEMENT: None, JUDGE_ERROR: None}
    rows = [{**row, **same_answer, **unjudged} for row in part.rows]
    try:
        return score_rows(benchmark, rows, profile)
    except DataError:
        if isinstance(benchmark, Judged):
            return None
        raise


def _cost(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "seconds": round(sum(row.get("seconds", 0.0) for row in rows), 3),
        "prompt_tokens": sum(row.get("prompt_tokens", 0) for row in rows),
        "new_tokens": sum(row.get("num_tokens", 0) for row in rows),
        "questions": len(rows),
    }


def require_valid(scored: Scored, where: str) -> None:
    """Raises: EvalError where more than 1 % of the answers have no score, because the answer or its
    judge failed.
    """
    errors = [
        (row, number)
        for number, scores in enumerate(scored.rounds)
        for row, score in zip(scored.rows, scores, strict=True)
        if score.score is None
    ]
    asked = sum(map(len, scored.rounds))
    if len(errors) > MAX_ERROR_SHARE * asked:
        raise EvalError(
            f"{len(errors):,} of {asked:,} answers are errors; the first "
            f"({errors[0][0]['sample_id']}): {_why_unscored(*errors[0])}",
            where=where,
            expected=f"at most {MAX_ERROR_SHARE:.0%}",
            do="fix what the first one says, then continue with --resume",
        )


def _why_unscored(row: Mapping[str, Any], number: int) -> str:
    """Why the row's answer in this round has no score."""
    answers = answer_rows(row)
    answer = answers[min(number, len(answers) - 1)]
    text = answer.get(JUDGEMENT)
    unread = f"the judge's text holds no verdict: {text[:80]!r}" if isinstance(text, str) else ""
    return failure(answer) or unread or "the rule gave no score"
