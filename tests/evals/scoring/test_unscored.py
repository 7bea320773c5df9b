"""Where nothing has a score there is no figure: a failure of ours is never a 0."""

import json
import math
from dataclasses import replace

import pytest

from evals.data.items import ItemScore
from evals.decisions.best import select_score
from evals.registry import get_benchmark
from evals.scoring.results import _part, require_valid
from evals.scoring.samples import Scored, score_rows
from evals.scoring.score import score_file
from rl.errors import EvalError
from rl.plugins import names
from tests.evals.benchmarks.test_benchmarks import as_rows, example_rows
from tests.evals.conftest import write_parquet


def figures(tree) -> list[float]:
    """Every number of a tree of metrics."""
    if isinstance(tree, dict):
        return [number for value in tree.values() for number in figures(value)]
    return [] if tree is None else [tree]


def failed_rows(tmp_path, name: str) -> list[dict]:
    items = get_benchmark(name).load(write_parquet(tmp_path / "d.parquet", example_rows(name, 3)))
    rows = [{"category": "all", **row, "part": "report"} for row in as_rows(items)]
    return [{**row, "response": None, "error": "HTTP 400"} for row in rows]


@pytest.mark.parametrize("name", names("evals.benchmarks"))
def test_a_file_of_errors_has_no_figure(tmp_path, name):
    rows = failed_rows(tmp_path, name)
    file = tmp_path / "responses.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = get_benchmark(name)
    for profile in benchmark.profiles:
        told = score_file(name, file, profile)
        assert {item["score"] for item in told["items"]} == {None}
        assert benchmark.primary_name in told["metrics"] or name == "mme"
        assert figures(told["metrics"]) == []
    part = _part(benchmark, score_rows(benchmark, rows), benchmark.profiles[0], 0)
    assert (part["n"], part["errors"], part["value"], part["interval"]) == (len(rows),) * 2 + (
        None,
        None,
    )
    with pytest.raises(EvalError, match="no score on the select part"):
        select_score({name: {"parts": {"select": part}, "primary": {"max": 1.0}}})


def test_a_round_of_errors_lowers_nothing():
    gqa = get_benchmark("gqa")
    rows = [{"sample_id": str(n), "cluster_id": str(n), "category": "all"} for n in range(4)]
    right, failed = ItemScore(1.0, "ok", "red"), ItemScore(None, "error")
    scored = Scored(rows, [[right] * 4, [failed] * 4], [right] * 4)
    assert (scored.accuracy, scored.value(gqa, "official")) == (1.0, 1.0)
    assert scored.metrics(gqa, "official")["accuracy"] == 1.0
    with pytest.raises(EvalError, match="4 of 8 answers are errors"):
        require_valid(scored, "here")
    require_valid(replace(scored, rounds=[[right] * 4]), "here")


def test_a_row_without_a_cluster_is_one_of_its_own(tmp_path):
    """Also where its cluster says null, or another row's cluster bears its id."""
    file = tmp_path / "r.jsonl"
    rows = [
        {"sample_id": str(n), "references": ["red"], "response": "red" if n % 2 else "blue"}
        for n in range(8)
    ]
    told = []
    for cluster in ({}, {"cluster_id": None}):
        lines = [{**row, **cluster} for row in rows[1:]] + [{**rows[0], "cluster_id": "1"}]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        told.append(score_file("gqa", file)["metrics"])
    assert told[0] == told[1]
    assert math.isclose(told[0]["stderr_clustered"], told[0]["stderr"])


@pytest.mark.parametrize("name", names("evals.benchmarks"))
def test_no_mean_of_nothing_is_0(tmp_path, name):
    """Not even before `Scored` takes the figures back: a benchmark's own aggregate has none."""
    benchmark = get_benchmark(name)
    rows = failed_rows(tmp_path, name)
    found = benchmark.aggregate(rows, [ItemScore(None, "error")] * len(rows))
    if name == "mme":  # its figures are sums over categories: of no category, 0 points
        assert found.pop("total") == found.pop("perception") == found.pop("cognition") == 0.0
    if name == "ocrbench":  # and a count
        found = {key: value for key, value in found.items() if value != 0}
    assert figures(found) == []
    scores = [ItemScore(None, "error")] * len(rows)
    assert benchmark.yes_ratio(scores) is None


@pytest.mark.parametrize("name", names("evals.benchmarks"))
def test_a_result_needs_every_rows_cluster(tmp_path, name):
    benchmark = get_benchmark(name)
    rows = failed_rows(tmp_path, name)
    scores = [ItemScore(None, "error")] * len(rows)
    lacking = {key: value for key, value in rows[1].items() if key != "cluster_id"}
    for row in (lacking, {**lacking, "cluster_id": None}):
        changed = [rows[0], row, *rows[2:]]
        layout = benchmark.layout(changed)
        with pytest.raises(EvalError, match=f"answer {row['sample_id']}: no cluster_id"):
            benchmark.sums(changed, scores, layout)
