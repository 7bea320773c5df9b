"""Benchmarks of a user's own: a page without code, a file with code."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evals.asking.generate import EvalSettings, evaluate
from evals.base import BenchmarkConfig
from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.scoring.results import ResultOptions, write_result
from evals.scoring.score import score_file
from recipes.cli.main import app
from rl.core import Image, Text
from rl.errors import ConfigError, DataError, EvalError
from tests.evals.conftest import TableSampler, open_benchmark, png, write_parquet

OPEN = """
name: parts
data: rows.parquet
columns: {question: query, answer: label, images: [photo], id: row}
prompt: "{kind}: {question}\\nAnswer with a number."
scorer: {name: numeric, tolerance: 0.05}
categories: kind
"""
CHOICE = """
name: picks
data: rows.jsonl
columns: {images: [a, b], options: choices}
"""


def open_rows(num_images: int = 12) -> list[dict]:
    return [
        {
            "row": number,
            "query": "How many bolts?",
            "label": str(10 + number),
            "photo": {"bytes": png(number), "path": None},
            "kind": "bolts" if number % 3 else "nuts",
        }
        for number in range(num_images)
    ]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "rows.parquet", open_rows())
    (tmp_path / "parts.yaml").write_text(OPEN)
    return tmp_path / "parts.yaml"


def response_rows(items, answer) -> list[dict]:
    return [
        {
            "sample_id": item.sample.uid,
            "cluster_id": item.cluster_id,
            "category": item.category,
            "references": list(item.sample.references),
            "response": answer(item),
            **item.columns,
        }
        for item in items
    ]


def test_an_open_page(parts):
    benchmark, items = open_benchmark(BenchmarkConfig(name=str(parts)))
    assert len(items) == 12
    assert items[3].sample.uid == "parts-3"
    assert items[0].sample.messages[0].text == "nuts: How many bolts?\nAnswer with a number."
    assert {item.part for item in items} == {"select", "report"}
    rows = response_rows(items, lambda item: item.sample.references[0])
    assert benchmark.check_gold(rows) == (1.0, 0.0)
    rows[0]["response"] = "10.4"
    rows[1]["response"] = "12"
    scores = [benchmark.score(row) for row in rows]
    assert [score.score for score in scores[:3]] == [1.0, 0.0, 1.0]
    metrics = benchmark.aggregate(rows, scores)
    assert metrics == {
        "accuracy": pytest.approx(11 / 12),
        "categories": {"bolts": pytest.approx(7 / 8), "nuts": 1.0},
    }


def test_macro_is_the_mean_of_categories_also_in_the_bootstrap(parts):
    mean = get_benchmark(str(parts))
    parts.write_text(OPEN + "aggregate: macro\n")
    benchmark, items = open_benchmark(BenchmarkConfig(name=str(parts)))
    rows = response_rows(items, lambda item: item.sample.references[0])
    rows[1]["response"] = "none"
    scores = [benchmark.score(row) for row in rows]
    metrics = benchmark.aggregate(rows, scores)
    assert metrics["accuracy"] == pytest.approx((7 / 8 + 1) / 2)
    assert metrics["micro"] == pytest.approx(11 / 12)
    sums = benchmark.sums(rows, scores, benchmark.layout(rows))[1]
    assert benchmark.statistic(sums.sum(axis=0)) == pytest.approx(metrics["accuracy"])
    assert benchmark.version != mean.version


def test_a_page_of_options_with_several_images(tmp_path):
    rows = [
        {
            "question": "Which of <image 1> and <image 2> is red?",
            "a": f"{number}.png",
            "b": "x.png" if number else None,
            "choices": ["the first", "the second"],
            "answer": answer,
        }
        for number, answer in enumerate([0, "B", "the first"])
    ]
    for name in ("0", "1", "2", "x"):
        (tmp_path / f"{name}.png").write_bytes(png(ord(name)))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "picks.yaml").write_text(CHOICE)
    benchmark, items = open_benchmark(BenchmarkConfig(name=str(tmp_path / "picks.yaml")))
    assert [item.sample.references[0] for item in items] == ["A", "B", "A"]
    closing = "\nAnswer with the option's letter from the given choices directly."
    assert items[1].sample.messages[0].parts == (
        Text("Which of "),
        Image(0),
        Text(" and "),
        Image(1),
        Text(" is red?\nA. the first\nB. the second" + closing),
    )
    assert len(items[0].sample.images) == 1
    assert items[1].part == items[2].part  # both show x.png
    row = {"sample_id": 1, "references": ["B"], "response": "(B)"}
    assert benchmark.score(row).parsed == "B"
    assert benchmark.score({**row, "response": "either"}).status == "unparsed"
    rows[0]["answer"] = "the third"
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: answer 'the third'"):
        open_benchmark(BenchmarkConfig(name=str(tmp_path / "picks.yaml")))


def test_text_questions(tmp_path):
    (tmp_path / "sums.yaml").write_text(
        "name: sums\ncolumns: {images: []}\nscorer: numeric\nmax_new_tokens: 5\n"
    )
    rows = [{"question": f"1 + {number}?", "answer": 1 + number} for number in range(5)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = BenchmarkConfig(name=str(tmp_path / "sums.yaml"), path=str(tmp_path / "rows.jsonl"))
    benchmark, items = open_benchmark(config)
    assert benchmark.max_new_tokens == 5
    assert items[0].sample.images == ()
    assert len({item.cluster_id for item in items}) == 5
    with pytest.raises(ConfigError, match="no path"):
        open_benchmark(BenchmarkConfig(name=str(tmp_path / "sums.yaml")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "give `scorer`"),
        ("name: mme\nscorer: exact", "is a built-in benchmark's"),
        ("name: a\nscorer: exakt", "Did you mean exact"),
        ("name: a\nscorer: exact\nprompd: x", "unknown key. Did you mean prompt"),
        ("name: a b\nscorer: exact", "name"),
        ("name: a\nscorer: exact\naggregate: macro", "needs `categories`"),
    ],
)
def test_a_wrong_page_is_told(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        get_benchmark(str(tmp_path / "a.yaml"))


def test_data_that_does_not_fit_the_page(parts):
    parts.write_text(OPEN.replace("{kind}", "{colour}"))
    with pytest.raises(DataError, match=r"rows\.parquet row 0: prompt: \{colour\} is no column"):
        open_benchmark(BenchmarkConfig(name=str(parts)))
    parts.write_text(OPEN.replace("label", "lable"))
    with pytest.raises(DataError, match="no column lable"):
        open_benchmark(BenchmarkConfig(name=str(parts)))
    parts.write_text(OPEN.replace("{name: numeric, tolerance: 0.05}", "{name: format, pattern: x}"))
    with pytest.raises(EvalError, match="scorer format gives no reference itself more than 0"):
        open_benchmark(BenchmarkConfig(name=str(parts)))


def test_a_scorer_outside_its_range_is_an_error(parts):
    (parts.parent / "mine.py").write_text("def twice(text: str) -> float:\n    return 2.0\n")
    parts.write_text(OPEN.replace("{name: numeric, tolerance: 0.05}", "./mine.py:twice"))
    benchmark = get_benchmark(str(parts))
    with pytest.raises(EvalError, match=r"scorer twice gave 2\.0; expected a score in \[0, 1\]"):
        benchmark.score({"sample_id": 1, "references": ["1"], "response": "1"})


def test_results_and_scores_are_as_every_benchmarks(parts, tmp_path):
    benchmark, items = open_benchmark(BenchmarkConfig(name=str(parts)))
    folder = tmp_path / "run" / "evals" / "base" / benchmark.id
    sampler = TableSampler(lambda sample: "12")
    settings = EvalSettings(max_new_tokens=benchmark.max_new_tokens)
    evaluate(benchmark, items, sampler, folder, settings=settings, weights="w")
    result = write_result(folder, benchmark, ResultOptions(stage="base", gate=GateConfig()))
    assert set(result["parts"]) == {"select", "report"}
    assert set(result["parts"]["report"]["categories"]) <= {"bolts", "nuts"}
    again = score_file(str(parts), folder / "responses.jsonl")
    assert again["benchmark"] == "parts"
    assert again["metrics"]["accuracy"] == pytest.approx(1 / 12)
    shown = CliRunner().invoke(app, ["score", str(parts), str(folder / "responses.jsonl")])
    assert json.loads(shown.stdout) == again


def test_code_of_an_own_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from evals.benchmarks.gqa import GQA\n\n\nclass Mine(GQA):\n    id = 'mine'\n\n\n"
        "bench = Mine()\n"
    )
    rows = [{"sample_id": 1, "references": ["no"], "response": "No"}]
    (tmp_path / "r.jsonl").write_text(json.dumps(rows[0]))
    for name in ("Mine", "bench"):
        found = score_file(f"{tmp_path / 'mine.py'}:{name}", tmp_path / "r.jsonl")
        assert (found["benchmark"], found["metrics"]["accuracy"]) == ("mine", 1.0)
    with pytest.raises(ConfigError, match="is not a benchmark"):
        get_benchmark(f"{tmp_path / 'mine.py'}:GQA.judge".replace("GQA.judge", "__name__"))
