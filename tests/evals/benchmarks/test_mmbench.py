"""MMBench by hand: a question is right only in every rotation of its options."""

import pytest

from evals.registry import get_benchmark
from evals.scoring.samples import score_rows
from rl.errors import DataError
from tests.evals.benchmarks.test_choices import scored


def mmbench_row(index: int, answer: str, response: str, **more) -> dict:
    return {
        "sample_id": f"s{index}",
        "cluster_id": str(index % 1_000_000),
        "index": index,
        "category": "a" if index % 2 else "b",
        "l2_category": "l",
        "options": ["cat", "dog"],
        "references": [answer],
        "response": response,
        **more,
    }


def test_mmbench_is_right_only_in_every_rotation():
    rows = [
        mmbench_row(1, "A", "A"),
        mmbench_row(1_000_001, "B", "The answer is B"),
        mmbench_row(2, "A", "A cat"),
        mmbench_row(1_000_002, "B", "A"),
        mmbench_row(4, "A", "A"),
        {**mmbench_row(1_000_004, "B", ""), "response": None, "error": "no image"},
        mmbench_row(1_000_005, "B", "B"),  # its unrotated question is not there
    ]
    mmbench = get_benchmark("mmbench")
    scores = [mmbench.score(row) for row in rows]
    metrics = mmbench.aggregate(rows, scores)
    assert metrics == {
        "circular": 0.5,
        "vanilla": 1.0,
        "categories": {"a": 1.0, "b": 0.0},
        "l2_categories": {"l": 0.5},
    }
    _, sums = mmbench.sums(rows, scores, ["all"])
    assert mmbench.statistic(sums.sum(axis=0)) == 0.5
    assert mmbench.random_baseline(rows[:2]) == 0.25


def test_mmbench_of_rotations_alone_has_no_circular_accuracy(tmp_path):
    rows = [mmbench_row(1_000_005, "B", "B"), mmbench_row(2_000_005, "A", "A")]
    metrics = scored(tmp_path, "mmbench", rows)["metrics"]
    assert (metrics["circular"], metrics["vanilla"], metrics["categories"]) == (None, None, {})
    mmbench = get_benchmark("mmbench")
    assert score_rows(mmbench, rows).value(mmbench, "official") is None


def test_mmbench_takes_options_as_columns_and_nan_as_none():
    row = mmbench_row(1, "B", "dog", options=None, A="cat", B="dog", C="nan", D="nan")
    assert get_benchmark("mmbench").score(row).score == 1.0
    # lmms-eval counts the absent options' text "nan"
    assert (
        get_benchmark("mmbench").score({**row, "response": "dog, no banana"}, "lmms_eval").score
        == 0
    )
    with pytest.raises(DataError, match="index is"):
        get_benchmark("mmbench").score({**row, "index": "x"})
