"""The harness: asks once, resumes, scores without a model, compares pairs and keeps our failures
out of the score.
"""

import json
import time
from dataclasses import replace

import pytest

from evals.asking.generate import EvalSettings, evaluate, split_reasoning
from evals.decisions.best import select_score
from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from evals.scoring.results import ResultOptions, score_folder, write_result
from rl.core import Completion, ImageSource, Rollout
from rl.errors import DataError, EvalError
from rl.plugins import names
from tests.evals.benchmarks.test_benchmarks import as_rows, example_rows
from tests.evals.conftest import TableSampler, mme_rows, write_parquet

SETTINGS = EvalSettings(max_new_tokens=16, max_pixels=16384, backend="table", dtype="float32")
MME = get_benchmark("mme")


def right(sample) -> str:
    return sample.references[0]


def half(sample) -> str:
    return sample.references[0] if int(sample.uid[-2:]) % 4 < 2 else "Perhaps"


def run(folder, items, answer, weights="w1", settings=SETTINGS) -> TableSampler:
    sampler = TableSampler(answer)
    evaluate(MME, items, sampler, folder, settings=settings, weights=weights)
    return sampler


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]


@pytest.fixture
def items(mme_folder):
    return MME.load(mme_folder)


def test_rows_follow_the_contract(tmp_path, items):
    folder = tmp_path / "run/evals/base/mme"
    run(folder, items, right)
    rows = rows_of(folder)
    assert [row["sample_id"] for row in rows] == [item.sample.uid for item in items]
    contract = {
        "sample_id", "cluster_id", "part", "category", "question", "references", "images",
        "response", "finish_reason", "num_tokens", "seconds", "question_id",
    }  # fmt: skip
    assert contract <= set(rows[0])
    thumbnails = {path.stem for path in (tmp_path / "run/evals/images").glob("*.png")}
    assert thumbnails == {sha for row in rows for sha in row["images"]}


def test_resumes_and_never_uses_answers_of_other_weights(tmp_path, items):
    folder = tmp_path / "evals/sft/mme"
    assert run(folder, items, right).asked == len(items)
    assert run(folder, items, half).asked == 0
    whole = (folder / "responses.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / "responses.jsonl").write_bytes(b"".join(lines[5:30]) + lines[40][:20])  # a torn line
    assert run(folder, items, right).asked == len(items) - 25
    assert [row["sample_id"] for row in rows_of(folder)] == [i.sample.uid for i in items]
    assert run(folder, items, right, weights="w2").asked == len(items)
    assert run(folder, items, right, settings=replace(SETTINGS, max_pixels=64)).asked == len(items)
    for _ in range(2):
        assert run(folder, items, right, weights="").asked == len(items)


def test_an_interrupted_run_keeps_what_was_answered(tmp_path, items):
    folder = tmp_path / "evals/sft/mme"

    def dies(sample) -> str:
        if sample.uid == items[24].sample.uid:
            raise RuntimeError("engine gone")
        return "Yes"

    with pytest.raises(RuntimeError, match="engine gone"):
        run(folder, items, dies)
    assert len(rows_of(folder)) == 31  # 24 and, newest first, seven of the next eight
    assert run(folder, items, right).asked == len(items) - 31


def test_a_larger_limit_asks_only_the_new_questions(tmp_path, mme_folder):
    folder = tmp_path / "evals/sft/mme"
    few, more = MME.load(mme_folder, limit=12), MME.load(mme_folder, limit=30)
    run(folder, few, right)
    assert run(folder, more, right).asked == len(more) - len(few)


def test_reasoning_is_split_off(tmp_path, items):
    assert split_reasoning("a</think> Yes") == ("a", "Yes", True)
    folder = tmp_path / "evals/sft/mme"
    run(folder, items[:4], lambda sample: "<think>a cat</think>\nYes")
    assert rows_of(folder)[0]["response"] == "Yes"
    assert rows_of(folder)[0]["reasoning"] == "a cat"
    run(folder, items[:4], lambda sample: "<think>a cat and", weights="w2")
    scored = score_folder(folder, MME)
    assert {score.status for score in scored.scores} == {"truncated"}
    assert {score.score for score in scored.scores} == {0.0}


def test_an_undecodable_image_is_an_error_and_many_make_the_run_invalid(tmp_path, items):
    broken = replace(items[0], sample=replace(items[0].sample, images=(ImageSource(data=b"x"),)))
    folder = tmp_path / "evals/sft/mme"
    assert run(folder, [broken, *items[1:]], right).asked == len(items) - 1
    assert "cannot be decoded" in rows_of(folder)[0]["error"]
    result = write_result(folder, MME, ResultOptions(stage="sft", gate=GateConfig()))
    assert result["parts"]["report"]["errors"] == 1
    assert result["parts"]["report"]["accuracy"] == 1.0
    run(folder, [broken, *items[1:20]], right)
    with pytest.raises(EvalError, match=r"1 of 20 answers are errors.*at most 1%"):
        write_result(folder, MME, ResultOptions(stage="sft", gate=GateConfig()))


class Picky(TableSampler):
    """Refuses one sample, aborts another every time and a third once."""

    def __init__(self, answer) -> None:
        super().__init__(answer)
        self.aborts = ["mme-00005", "mme-00005", "mme-00007"]

    def _one(self, sample, sampling):
        if sample.uid == "mme-00003":
            raise DataError("prompt too long", where="mme-00003")
        if sample.uid in self.aborts:
            self.aborts.remove(sample.uid)
            return Rollout(sample, (1, 2, 3), (Completion((), (), "", "abort"),))
        return super()._one(sample, sampling)


def test_a_row_without_its_image_is_not_asked_and_counts_as_an_error(tmp_path):
    rows = mme_rows(0, 120)
    rows[7]["image"] = None
    file = write_parquet(tmp_path / "data" / "rows.parquet", rows)
    items = MME.load(file)
    assert items[7].cluster_id == items[6].cluster_id
    for limit in (20, 40, 60):
        kept = {item.sample.uid for item in MME.load(file, limit=limit)}
        assert ("mme-00006" in kept) == ("mme-00007" in kept)
    folder = tmp_path / "run/evals/base/mme"
    assert run(folder, items, right).asked == 239
    [blind] = [row for row in rows_of(folder) if row.get("error")]
    assert (blind["sample_id"], blind["response"], blind["error"]) == (
        "mme-00007",
        None,
        "no image",
    )
    result = write_result(folder, MME, ResultOptions(stage="base", gate=GateConfig()))
    assert sum(part["errors"] for part in result["parts"].values()) == 1
    assert all(part["accuracy"] == 1.0 for part in result["parts"].values())
    for row in rows[8:11]:
        row["image"] = None
    items = MME.load(write_parquet(tmp_path / "data" / "rows.parquet", rows))
    run(folder, items, right)
    with pytest.raises(EvalError, match=r"4 of 240 answers are errors.*mme-00007.*no image"):
        write_result(folder, MME, ResultOptions(stage="base", gate=GateConfig()))


def test_a_refused_sample_costs_one_row(tmp_path, items):
    folder = tmp_path / "evals/sft/mme"
    evaluate(MME, items, Picky(right), folder, settings=SETTINGS, weights="w")
    errors = {row["sample_id"]: row["error"] for row in rows_of(folder) if row.get("error")}
    assert set(errors) == {"mme-00003", "mme-00005"}
    assert "prompt too long" in errors["mme-00003"]


def test_times_add_up_to_the_time_that_it_took(tmp_path, items):
    class Slow(TableSampler):
        def _one(self, sample, sampling):
            time.sleep(0.005)
            return super()._one(sample, sampling)

    folder = tmp_path / "evals/sft/mme"
    started = time.monotonic()
    evaluate(MME, items[:40], Slow(right), folder, settings=SETTINGS, weights="w")
    took = time.monotonic() - started
    rows = rows_of(folder)
    assert 40 * 0.005 <= sum(row["seconds"] for row in rows) <= took
    # Eight at a time: an answer waits for those before it in its eight.
    assert sum(row["latency_s"] for row in rows) > 2 * sum(row["seconds"] for row in rows)
    assert all(row["latency_s"] >= 0.005 for row in rows)


def test_a_silent_sampler_is_an_error_and_so_is_one_that_speaks_unasked(tmp_path, items):
    class Silent(TableSampler):
        def sample_stream(self, samples, sampling, *, on_error=None):
            yield from list(super().sample_stream(samples, sampling, on_error=on_error))[:-2]

    class Loud(TableSampler):
        def sample_stream(self, samples, sampling, *, on_error=None):
            for rollout in super().sample_stream(samples, sampling, on_error=on_error):
                yield rollout
                yield rollout

    folder = tmp_path / "evals/sft/mme"
    with pytest.raises(EvalError, match="no answer for 2 questions"):
        evaluate(MME, items, Silent(right), folder, settings=SETTINGS, weights="w")
    assert run(folder, items, right, weights="w").asked == 2
    with pytest.raises(EvalError, match="unasked"):
        evaluate(MME, items, Loud(right), folder, settings=SETTINGS, weights="v")


def test_result_against_parent_and_base(tmp_path, items):
    evals = tmp_path / "evals"
    run(evals / "base/mme", items, lambda sample: "Yes")
    run(evals / "sft/mme", items, half)
    write_result(evals / "base/mme", MME, ResultOptions(stage="base", gate=GateConfig()))
    result = write_result(
        evals / "sft/mme",
        MME,
        ResultOptions(
            stage="sft", gate=GateConfig(), parent=evals / "base/mme", base=evals / "base/mme"
        ),
    )
    assert result == json.loads((evals / "sft/mme/result.json").read_text())
    assert result["primary"] == {"name": "total", "max": 400.0, "unit": ""}
    assert (result["parent_stage"], result["base_stage"]) == ("base", "base")
    part = result["parts"]["report"]
    assert part["n"] == 80
    assert part["clusters"] == 40
    assert part["majority_baseline"] == 0.5
    assert part["majority_value"] == 100.0
    assert part["interval"][0] < part["value"] < part["interval"][1]
    assert part["metrics"]["total"] == part["value"]
    assert set(part["categories"]) == {"count", "color"}
    versus = result["comparisons"]["parent"]["report"]
    flips = versus["flips"]
    gain = flips["wrong_to_right"] - flips["right_to_wrong"]
    assert versus["accuracy_difference"] == pytest.approx(gain / 80)
    assert versus["decomposition"]["parse_rate"] == [1.0, 0.5]
    assert versus["decomposition"]["yes_ratio"][0] == 1.0
    assert sum(f["parsed_to_unparsed"] for f in versus["flips_by_category"].values()) == 40
    assert result["cost"]["questions"] == 140
    assert result["gate"]["verdict"] == "pass"
    assert "changed by +100.0 points" in result["gate"]["reasons"][0]


def test_other_pixel_limits_are_not_compared(tmp_path, items):
    evals = tmp_path / "evals"
    run(evals / "base/mme", items, right, settings=replace(SETTINGS, max_pixels=64))
    run(evals / "sft/mme", items, right)
    options = {"stage": "sft", "gate": GateConfig(), "base": evals / "base/mme"}
    result = write_result(evals / "sft/mme", MME, ResultOptions(**options))
    assert result["comparisons"]["base"]["refused"] == "max_pixels differs: 64 and 16384"
    assert result["comparisons"]["base"]["report"] is None
    assert result["gate"]["verdict"] == "warn"
    forced = write_result(evals / "sft/mme", MME, ResultOptions(**options, force=True))
    assert forced["comparisons"]["base"]["report"]["difference"] == 0.0
    assert forced["comparisons"]["base"]["refused"]


def test_scoring_needs_no_model_and_changes_nothing(tmp_path, items):
    folder = tmp_path / "evals/sft/mme"
    run(folder, items, half)
    before = (folder / "responses.jsonl").read_bytes()
    first = score_folder(folder, MME)
    assert score_folder(folder, MME).scores == first.scores
    assert (folder / "responses.jsonl").read_bytes() == before
    line = json.loads((folder / "scores.jsonl").read_text().splitlines()[0])
    assert list(line) == [
        "sample_id", "cluster_id", "part", "category", "score", "status", "parsed",
    ]  # fmt: skip


def test_no_select_part_still_gives_a_result(tmp_path):
    items = MME.load(write_parquet(tmp_path / "d/report.parquet", mme_rows(0, 5)).parent)
    folder = tmp_path / "evals/base/mme"
    run(folder, items, right)
    result = write_result(folder, MME, ResultOptions(stage="base", gate=GateConfig()))
    assert set(result["parts"]) == {"report"}


def test_a_judged_benchmark_has_no_majority_baseline_and_choices_have_a_random_one(tmp_path):
    from evals.scoring.results import _part
    from evals.scoring.samples import score_rows

    for name, majority, random in (("mmvet", None, None), ("ai2d", 1.0, 0.25)):
        benchmark = get_benchmark(name)
        items = benchmark.load(write_parquet(tmp_path / f"{name}.parquet", example_rows(name, 4)))
        rows = [
            {
                "sample_id": item.sample.uid,
                "cluster_id": item.cluster_id,
                "category": item.category,
                "references": list(item.sample.references),
                **item.columns,
                "response": "(A)",
                "judgement": "0.7",
            }
            for item in items
        ]
        part = _part(benchmark, score_rows(benchmark, rows), "official", 0)
        assert (part["majority_baseline"], part["random_baseline"]) == (majority, random)


@pytest.mark.parametrize("name", [n for n in names("evals.benchmarks") if n != "mmvet"])
def test_every_benchmark_goes_through_the_harness(tmp_path, name):
    if name == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")
    benchmark = get_benchmark(name)
    data = write_parquet(tmp_path / f"{name}.parquet", example_rows(name))
    items = benchmark.load(data)
    gold = {row["sample_id"]: benchmark.gold(row) for row in as_rows(items)}
    folder = tmp_path / f"evals/base/{name}"
    sampler = TableSampler(lambda sample: gold[sample.uid])
    evaluate(benchmark, items, sampler, folder, settings=SETTINGS, weights="w1")
    result = write_result(folder, benchmark, ResultOptions(stage="base", gate=GateConfig()))
    assert {part["n"] > 0 for part in result["parts"].values()} == {True}
    for part, found in result["parts"].items():
        rows = [row for row in rows_of(folder) if row["part"] == part]
        assert found["value"] == pytest.approx(benchmark.max_score(rows))
        assert found["interval"] == pytest.approx([found["value"]] * 2)


def test_a_counts_maximum_is_the_number_of_the_parts_questions(tmp_path):
    """OCRBench counts right answers: a third of them lost on `select` is a third, not less."""
    bench = get_benchmark("ocrbench")
    items = bench.load(write_parquet(tmp_path / "o.parquet", example_rows("ocrbench", 30)))
    chosen = [item.sample.uid for item in items if item.part == "select"]
    assert 3 < len(chosen) < len(items)
    lost = chosen[: len(chosen) // 3]

    def wrong(sample) -> str:
        return "nothing" if sample.uid in lost else right(sample)

    for stage, answer in (("base", right), ("sft", wrong)):
        folder = tmp_path / "evals" / stage / "ocrbench"
        evaluate(bench, items, TableSampler(answer), folder, settings=SETTINGS, weights=stage)
    base = tmp_path / "evals/base/ocrbench"
    first = write_result(base, bench, ResultOptions(stage="base", gate=GateConfig()))
    result = write_result(
        tmp_path / "evals/sft/ocrbench",
        bench,
        ResultOptions(stage="sft", gate=GateConfig(), parent=base),
    )
    assert [result["parts"][part]["max"] for part in ("select", "report")] == [
        len(chosen),
        len(items) - len(chosen),
    ]
    assert select_score({"ocrbench": first}) == 1.0
    assert select_score({"ocrbench": result}) == 1 - len(lost) / len(chosen)
    reason = result["gate"]["reasons"][0]
    assert f"changed by {-len(lost):+.1f} points" in reason
    assert f"2 % of the maximum {len(chosen)}" in reason


@pytest.mark.parametrize("key", ["cluster_id", "part", "category"])
def test_an_answer_without_its_facts_is_named(tmp_path, items, key):
    folder = tmp_path / "evals/sft/mme"
    run(folder, items, right)
    rows = rows_of(folder)
    del rows[3][key]
    (folder / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = f"responses.jsonl: answer mme-00003 has no {key}; expected what plumbline eval writes"
    with pytest.raises(EvalError, match=told):
        write_result(folder, MME, ResultOptions(stage="sft", gate=GateConfig()))
    run(tmp_path / "evals/kto/mme", items, right)
    with pytest.raises(EvalError, match=f"sft/mme/{told}"):
        write_result(
            tmp_path / "evals/kto/mme",
            MME,
            ResultOptions(stage="kto", gate=GateConfig(), base=folder),
        )
