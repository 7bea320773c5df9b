"""Several answers a question, for every benchmark of the folder: each figure is the mean over
rounds, whatever the benchmark's statistic is.
"""

import functools
import json
import math

import pytest

from evals.accuracy import group_means
from evals.asking.responses import write_json, write_rows
from evals.benchmarks import humaneval
from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from evals.scoring.paired import compare, figures_of
from evals.scoring.results import ResultOptions, write_result
from evals.scoring.samples import score_rows
from evals.scoring.score import score_file
from rl.errors import DataError, EvalError
from rl.plugins import names
from tests.evals.benchmarks.test_benchmarks import as_rows, example_rows
from tests.evals.conftest import write_parquet

CASES = [(n, p) for n in names("evals.benchmarks") for p in get_benchmark(n).profiles]
EVERY = pytest.mark.parametrize(("name", "profile"), CASES)
HEADER = {"version": "1", "weights": "w", "settings": {"n": 3, "prompt_hash": "p"}}


run_once = functools.cache(humaneval.run)  # the sandbox judges a program alike every time


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def asked(request, tmp_path, monkeypatch):
    """(benchmark, profile, rows of every question with three answers that differ)."""
    name, profile = request.param
    monkeypatch.setattr(humaneval, "run", run_once)
    if name == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")
    benchmark = get_benchmark(name).for_profile(profile)
    data = write_parquet(tmp_path / "data.parquet", example_rows(name, 7))
    rows = as_rows(benchmark.load(data, profile=profile))
    for number, row in enumerate(rows):
        # Right in every round, in one or two of them, or in none; one round has its error.
        right = [(number * 5 + r * 3) % 7 > 2 for r in range(3)]
        row["samples"] = [
            {
                "response": benchmark.gold(row) if is_right else ("no", "", "yes 7")[r],
                "judgement": str(float(is_right)),
                "num_tokens": 1 + r,
            }
            for r, is_right in enumerate(right)
        ]
        is_first = row["cluster_id"] == rows[0]["cluster_id"]
        row |= {"part": "select" if is_first else "report"} | row["samples"][0]
    rows[-1] |= {"error": "the engine refused it", "response": None}
    return benchmark, profile, rows


def one_each(rows, number):
    """The rows with their answer of that number alone."""
    return [
        {k: v for k, v in row.items() if k != "samples"}
        | ({} if row.get("error") else row["samples"][number])
        for row in rows
    ]


def leaves(value, at=()):
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*at, key))]
    return [(at, value)]


def assert_equal_to_1e_12(found, rounds):
    """Every number of `found` is the mean of those in `rounds`."""
    trees = [dict(leaves(tree)) for tree in rounds]
    for at, value in leaves(found):
        wanted = [tree[at] for tree in trees if tree.get(at) is not None]
        if value is None:
            assert wanted == []
            continue
        mean = math.fsum(wanted) / len(wanted)
        assert math.isclose(value, mean, rel_tol=1e-12, abs_tol=1e-12), at


def test_every_figure_is_the_mean_of_the_rounds(asked, tmp_path):
    benchmark, profile, rows = asked
    scored = score_rows(benchmark, rows, profile)
    single = [score_rows(benchmark, one_each(rows, r), profile) for r in range(3)]
    value = scored.value(benchmark, profile)
    assert math.isclose(
        value, math.fsum(one.value(benchmark, profile) for one in single) / 3, rel_tol=1e-12
    )
    found, *rounds = (one.metrics(benchmark, profile) for one in (scored, *single))
    assert_equal_to_1e_12(found, rounds)
    # The same through `plumbline score`, whose standard errors are of the questions' means.
    write_rows(tmp_path / "three.jsonl", rows)
    printed = score_file(benchmark.id, tmp_path / "three.jsonl", profile)
    assert_equal_to_1e_12(
        printed["metrics"] | {"stderr": 0, "stderr_clustered": 0},
        [{**found, "stderr": 0, "stderr_clustered": 0}],
    )
    assert [item["score"] for item in printed["items"]] == [s.score for s in scored.scores]
    assert printed["items"][-1]["score"] is None


def test_the_result_and_its_comparison_are_those_of_the_rounds(asked, tmp_path):
    """The result of three answers against the parent's one: each figure the rounds' mean."""
    benchmark, profile, rows = asked
    rows = [{**row, "error": None} for row in rows]
    single = [one_each(rows, r) for r in range(3)]
    three, parent = (tmp_path / stage / benchmark.id for stage in ("three", "one"))
    for folder, given in ((three, rows), (parent, single[0])):
        folder.mkdir(parents=True)
        write_rows(folder / "responses.jsonl", given)
        write_json(folder / "responses.header.json", HEADER | {"benchmark": benchmark.id})
    result = write_result(
        three,
        benchmark,
        ResultOptions(stage="three", gate=GateConfig(), parent=parent, profile=profile, force=True),
    )
    whole = result["parts"]["report"]
    parts = [score_rows(benchmark, one, profile).only("report") for one in single]
    values = [part.value(benchmark, profile) for part in parts]
    means = [
        {
            "value": value,
            "accuracy": part.accuracy,
            "metrics": part.metrics(benchmark, profile),
            "parse_rate": figures_of(benchmark, part)["parse_rate"],
            "categories": group_means(part.rows, part.scores, "category"),
        }
        for part, value in zip(parts, values, strict=True)
    ]
    shares = {name: told["accuracy"] for name, told in whole["categories"].items()}
    assert_equal_to_1e_12({k: whole[k] for k in means[0]} | {"categories": shares}, means)
    assert math.isclose(whole["sampling"]["mean"], whole["value"], abs_tol=1e-12)
    against = result["comparisons"]["parent"]["report"]
    difference = math.fsum(values) / 3 - values[0]
    assert math.isclose(against["difference"], difference, rel_tol=1e-9, abs_tol=1e-9)
    assert against["interval"][0] - 1e-9 <= difference <= against["interval"][1] + 1e-9


def test_equal_answers_are_one_answer(asked):
    benchmark, profile, rows = asked
    same = [row | {"samples": [row["samples"][1]] * 3} for row in rows]
    one, three = (score_rows(benchmark, r, profile) for r in (one_each(rows, 1), same))
    assert_equal_to_1e_12(three.metrics(benchmark, profile), [one.metrics(benchmark, profile)])
    assert [s.score for s in three.scores] == [s.score for s in one.scores]
    assert [s.parsed for s in three.scores] == [s.parsed for s in one.scores]
    if one.only("report").rows and benchmark.id != "mmbench":
        with_itself = compare(three.only("report"), one.only("report"), benchmark)
        assert abs(with_itself["difference"]) < 1e-9
        assert with_itself["verdict"] == "no evidence"


def test_the_aggregate_reads_verdicts_alone(asked):
    """What is answered stands in the scores: without the texts the metrics are the same."""
    benchmark, profile, rows = asked
    given = one_each(rows, 0)
    scores = score_rows(benchmark, given, profile).scores
    mute = [{k: v for k, v in row.items() if k not in ("response", "judgement")} for row in given]
    told = (benchmark.aggregate(r, scores, profile) for r in (given, mute))
    assert len({json.dumps(metrics) for metrics in told}) == 1


def test_questions_with_different_numbers_of_answers_are_refused(tmp_path):
    yes = {"references": ["Yes"], "category": "count", "response": "Yes"}
    rows = [{"sample_id": 1, **yes, "samples": [yes, yes]}, {"sample_id": 2, **yes}]
    with pytest.raises(EvalError, match="question 2: 1 answer; expected 2"):
        score_rows(get_benchmark("mme"), rows)
    write_rows(tmp_path / "mixed.jsonl", rows)
    with pytest.raises(DataError, match=r"mixed\.jsonl: question 2: 1 answer"):
        score_file("mme", tmp_path / "mixed.jsonl")


def test_samples_that_are_no_rows_are_named(tmp_path):
    row = {"sample_id": 1, "references": ["Yes"], "category": "count", "samples": ["Yes", "No"]}
    write_rows(tmp_path / "texts.jsonl", [row])
    with pytest.raises(DataError, match=r"texts\.jsonl:1: samples are .*; expected a list of obj"):
        score_file("mme", tmp_path / "texts.jsonl")
