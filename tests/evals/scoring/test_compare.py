"""Models of different runs: which questions pair, what is refused, what is reported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.asking.generate import EvalSettings, evaluate
from evals.registry import get_benchmark
from evals.scoring.compare import compare_sides, open_side, refusals
from evals.scoring.paired import compare, pair
from evals.scoring.samples import score_rows
from rl.errors import ConfigError, DataError, EvalError, PlumblineError
from tests.evals.conftest import TableSampler, mme_rows, textvqa_rows, write_parquet

SETTINGS = EvalSettings(max_new_tokens=16, max_pixels=16384, backend="table", dtype="float32")


def right(sample) -> str:
    return sample.references[0]


def half(sample) -> str:
    return sample.references[0] if int(sample.uid[-2:]) % 4 < 2 else "Perhaps"


def answered(run: Path, stage: str, name: str, data: Path, answer, settings=SETTINGS, limit=None):
    benchmark = get_benchmark(name)
    items = benchmark.load(data, limit=limit)
    folder = run / "evals" / stage / name
    evaluate(benchmark, items, TableSampler(answer), folder, settings=settings, weights="w")


@pytest.fixture
def data(tmp_path, mme_folder) -> Path:
    write_parquet(tmp_path / "textvqa" / "report-0.parquet", textvqa_rows(0, 30))
    return tmp_path


@pytest.fixture
def runs(data) -> Path:
    """Run a's base is half right, its sft always; run b never."""
    for run, stage, answers in (
        ("a", "base", (half, lambda sample: "go")),
        ("a", "sft", (right, right)),
        ("b", "base", (lambda sample: "",) * 2),
    ):
        for name, answer in zip(("mme", "textvqa"), answers, strict=True):
            answered(data / run, stage, name, data / name, answer)
    return data


def compared(*names: str, **options):
    return compare_sides([open_side(name) for name in names], **options)


def test_across_runs_the_difference_is_that_of_the_scores(runs):
    found = compared(f"{runs}/a:base", f"{runs}/a:sft", f"{runs}/b")
    assert json.loads(json.dumps(found)) == found
    assert [side["label"] for side in found["comparisons"]] == ["a:sft", "b:base"]
    better = {row["benchmark"]: row for row in found["comparisons"][0]["benchmarks"]}
    mme = better["mme"]
    assert mme["values"]["this"] == mme["max"] == 400.0
    assert mme["difference"] == mme["values"]["this"] - mme["values"]["baseline"]
    assert (mme["n"], mme["clusters"], mme["state"]) == (80, 40, "compared")
    assert mme["verdict"] == "better"
    assert mme["interval"][0] < mme["difference"] < mme["interval"][1]
    assert mme["p_holm"] >= mme["p_value"]
    assert 0 < mme["sign_test_p"] < 1e-3
    assert better["textvqa"]["sign_test_p"] is None  # soft scores
    assert {row["verdict"] for row in found["comparisons"][1]["benchmarks"]} == {"worse"}


def test_a_pair_turned_around_is_its_opposite(runs):
    there = compared(f"{runs}/a:base", f"{runs}/b")["comparisons"][0]["benchmarks"][0]
    back = compared(f"{runs}/b", f"{runs}/a:base")["comparisons"][0]["benchmarks"][0]
    assert there["difference"] == pytest.approx(-back["difference"])
    assert there["interval"] == pytest.approx([-back["interval"][1], -back["interval"][0]])
    assert there["p_value"] == pytest.approx(back["p_value"])


def test_the_last_evaluated_stage_stands_for_a_run(runs):
    (runs / "a" / "config.yaml").write_text("stages: [{name: sft}, {name: dpo}]\n")
    assert open_side(f"{runs}/a").stage == "sft"
    with pytest.raises(ConfigError, match=r'no evaluated stage "dpo".*base, sft'):
        open_side(f"{runs}/a:dpo")
    with pytest.raises(ConfigError, match="no evaluated run"):
        open_side(f"{runs}/nowhere")
    with pytest.raises(ConfigError, match="one model alone"):
        compared(f"{runs}/a")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_pixels": 64}, "max_pixels differs: 64 and 16384"),
        ({"max_new_tokens": 4}, "max_new_tokens differs: 4 and 16"),
        ({"temperature": 0.5}, "temperature differs: 0.5 and 0.0"),
        ({"images": False}, "images differs: False and True"),
        ({"extra": {"top_p": 0.5}}, "extra differs: {'top_p': 0.5} and {}"),
    ],
)
def test_unequal_settings_are_refused_and_forced_with_a_mark(runs, change, told):
    header = runs / "b/evals/base/mme/responses.header.json"
    facts = json.loads(header.read_text())
    facts["settings"].update(change)
    header.write_text(json.dumps(facts))
    found = compared(f"{runs}/b", f"{runs}/a:sft")
    refused, fine = found["comparisons"][0]["benchmarks"]
    assert (refused["state"], fine["state"]) == ("refused", "compared")
    assert "difference" not in refused
    assert refusals(found) == [f"a:sft, mme: {told}"]
    forced = compared(f"{runs}/b", f"{runs}/a:sft", force=True)["comparisons"][0]["benchmarks"][0]
    assert forced["state"] == "forced"
    assert forced["unequal"][0]["text"] == told
    assert forced["difference"] > 0


JUDGE = {"name": "judge-7b", "revision": "a1"}


@pytest.mark.parametrize("theirs", [None, {"name": "judge-7b", "revision": "b2"}])
def test_other_judges_are_refused(runs, theirs):
    for run, judge in (("b/evals/base", theirs), ("a/evals/sft", JUDGE)):
        header = runs / run / "mme/responses.header.json"
        facts = json.loads(header.read_text())
        header.write_text(json.dumps({**facts, "judge": judge} if judge else facts))
    found = compared(f"{runs}/b", f"{runs}/a:sft")
    states = [row["state"] for row in found["comparisons"][0]["benchmarks"]]
    assert states == ["refused", "compared"]
    assert refusals(found) == [f"a:sft, mme: judge differs: {theirs} and {JUDGE}"]
    forced = compared(f"{runs}/b", f"{runs}/a:sft", force=True)["comparisons"][0]["benchmarks"][0]
    assert (forced["state"], forced["unequal"][0]["key"]) == ("forced", "judge")


def test_what_belongs_to_a_model_is_noted_only(runs):
    other = replace(SETTINGS, backend="endpoint", dtype="bfloat16", chat_template="x", seed=7)
    answered(runs / "c", "base", "mme", runs / "mme", right, settings=other)
    row = compared(f"{runs}/a:base", f"{runs}/c")["comparisons"][0]["benchmarks"][0]
    assert row["state"] == "compared"
    assert [note.split()[0] for note in row["noted"]] == ["backend", "dtype", "chat_template"]


def test_a_smaller_limit_is_paired_and_the_rest_is_named(runs):
    answered(runs / "small", "base", "mme", runs / "mme", right, limit=20)
    row = compared(f"{runs}/small", f"{runs}/a:sft")["comparisons"][0]["benchmarks"][0]
    assert row["state"] == "compared"
    assert row["n"] == 20
    assert row["unpaired"]["only_baseline"] == []
    assert len(row["unpaired"]["only_this"]) == 60
    assert (row["difference"], row["p_value"], row["verdict"]) == (0.0, 1.0, "no evidence")


def test_other_data_and_other_prompts_are_refused(runs):
    changed = mme_rows(100, 30) + mme_rows(130, 10, "color")
    changed[3]["answer"] = "Yes"
    write_parquet(runs / "other" / "report-0.parquet", changed)
    answered(runs / "d", "base", "mme", runs / "other", right)
    row = compared(f"{runs}/a:base", f"{runs}/d")["comparisons"][0]["benchmarks"][0]
    assert row["state"] == "refused"
    assert row["unequal"][0]["key"] == "data"
    benchmark = get_benchmark("mme")
    items = benchmark.load(runs / "mme", prompt="{question} Say yes or no.")
    folder = runs / "e" / "evals" / "base" / "mme"
    evaluate(benchmark, items, TableSampler(right), folder, settings=SETTINGS, weights="w")
    row = compared(f"{runs}/a:base", f"{runs}/e")["comparisons"][0]["benchmarks"][0]
    assert [item["key"] for item in row["unequal"]] == ["prompt_hash"]


def test_a_question_that_failed_on_one_side_leaves_both(runs):
    file = runs / "a/evals/sft/mme/responses.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[:2]:
        line.update(response=None, error="engine gone")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(EvalError, match="2 of 80 answers are errors"):
        compared(f"{runs}/a:base", f"{runs}/a:sft")
    benchmark = get_benchmark("mme")
    sides = []
    for stage in ("sft", "base"):
        text = (runs / "a/evals" / stage / "mme/responses.jsonl").read_text()
        kept = [row for row in map(json.loads, text.splitlines()) if row["part"] == "report"]
        sides.append(score_rows(benchmark, kept))
    pairs = pair(*sides)
    assert [len(side.valid.rows) for side in (pairs.ours, pairs.theirs)] == [78, 78]
    assert compare(*sides, benchmark)["n"] == 78


def test_holm_takes_back_a_claim_that_one_of_two_benchmarks_makes(data):
    """Nine of thirty questions got better and two worse, a claim by itself; the other benchmark
    shows nothing.
    """
    worse, better = {"textvqa-28", "textvqa-29"}, {f"textvqa-{number}" for number in range(9)}
    for run, found in (("a", worse), ("b", better)):
        answered(
            data / run, "base", "textvqa", data / "textvqa",
            lambda sample, found=found: "stop" if sample.uid in found else "",
        )  # fmt: skip
    [alone] = compared(f"{data}/a", f"{data}/b")["comparisons"][0]["benchmarks"]
    assert 0.025 < alone["p_value"] < 0.05
    assert (alone["p_holm"], alone["verdict"]) == (alone["p_value"], "better")
    for run in "ab":
        answered(data / run, "base", "mme", data / "mme", half)
    both = compared(f"{data}/a", f"{data}/b")["comparisons"][0]["benchmarks"]
    rows = {row["benchmark"]: row for row in both}
    assert rows["textvqa"]["p_value"] == alone["p_value"]
    assert rows["textvqa"]["p_holm"] == 2 * alone["p_value"]
    assert rows["textvqa"]["verdict"] == "no evidence"
    assert (rows["mme"]["p_holm"], rows["mme"]["verdict"]) == (1.0, "no evidence")


def write_result(folder: Path, profile: str) -> None:
    (folder / "result.json").write_text(json.dumps({"profile": profile}))


def test_answers_are_judged_by_the_rule_that_the_runs_were_scored_by(runs):
    for stage in ("base", "sft"):
        write_result(runs / "a" / "evals" / stage / "mme", "lmms_eval")
    rows = compared(f"{runs}/a:base", f"{runs}/a:sft")["comparisons"][0]["benchmarks"]
    assert [row["profile"] for row in rows] == ["lmms_eval", "official"]
    rows = compared(f"{runs}/a:base", f"{runs}/a:sft", profile="official")["comparisons"][0]
    assert {row["profile"] for row in rows["benchmarks"]} == {"official"}


def test_two_rules_are_refused_until_one_is_asked_for(runs):
    write_result(runs / "a/evals/base/mme", "official")
    write_result(runs / "a/evals/sft/mme", "lmms_eval")
    found = compared(f"{runs}/a:base", f"{runs}/a:sft")
    assert refusals(found) == ["a:sft, mme: profile differs: official and lmms_eval"]
    found = compared(f"{runs}/a:base", f"{runs}/a:sft", profile="lmms_eval")
    assert refusals(found) == []


def test_a_rule_that_one_benchmark_lacks_is_told_and_one_that_none_has_refused(runs, monkeypatch):
    monkeypatch.setattr(type(get_benchmark("textvqa")), "profiles", ("official", "lmms_eval"))
    found = compared(f"{runs}/a:base", f"{runs}/a:sft", profile="vlmevalkit")["comparisons"][0]
    mme, textvqa = found["benchmarks"]
    assert (mme["profile"], mme["noted"]) == ("vlmevalkit", [])
    assert textvqa["profile"] == "official"
    assert textvqa["noted"] == ["has no rule vlmevalkit; scored by official"]
    with pytest.raises(ConfigError, match="unknown profile 'flexible'"):
        compared(f"{runs}/a:base", f"{runs}/a:sft", profile="flexible")


def test_a_question_that_stands_twice_is_refused_with_its_line(runs):
    file = runs / "a/evals/sft/mme/responses.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, lines[0]]))
    with pytest.raises(DataError, match=r"responses.jsonl:141: sample_id mme-00000 is on line 1"):
        compared(f"{runs}/a:base", f"{runs}/a:sft")


@pytest.mark.parametrize("lacking", ["version", "weights", "settings"])
def test_a_header_that_says_too_little_is_refused(runs, lacking):
    file = runs / "a/evals/sft/mme/responses.header.json"
    facts = json.loads(file.read_text())
    del facts[lacking]
    file.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=f"does not say how it was asked .no {lacking}."):
        compared(f"{runs}/a:base", f"{runs}/a:sft")


def test_a_broken_answer_is_told_with_its_side_and_none_at_all_refused(runs):
    file = runs / "a/evals/sft/mme/responses.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    part = next(row for row in rows if row["part"] == "report")
    part["response"] = None
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PlumblineError, match=f"^a:sft, benchmark mme: .*{part['sample_id']}"):
        compared(f"{runs}/a:base", f"{runs}/a:sft")
    file.write_text("")
    with pytest.raises(DataError, match="has no answer"):
        compared(f"{runs}/a:base", f"{runs}/a:sft")
