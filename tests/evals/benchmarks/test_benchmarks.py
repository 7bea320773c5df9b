"""What every benchmark of the folder must hold, and the rules of each."""

import json

import pytest

from evals.base import BenchmarkConfig
from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from evals.scoring.score import score_file
from rl.errors import ConfigError, DataError
from rl.plugins import names
from tests.evals.conftest import mme_rows, open_benchmark, png, textvqa_rows, write_parquet


def example_rows(name: str, num_images: int = 12) -> list[dict]:
    """The benchmark's own worked rows for so many images; columns that end in `id` or `index` are
    numbered, and the questions of a benchmark without images are.
    """
    benchmark = get_benchmark(name)
    return [
        {
            **{key: numbered(benchmark, key, value, image) for key, value in row.items()},
            **{column: {"bytes": png(image), "path": None} for column in pictures(benchmark, row)},
        }
        for image in range(num_images)
        for row in benchmark.examples
    ]


def pictures(benchmark, row) -> tuple[str, ...]:
    """The first image column, unless the example itself says which it has (as null)."""
    return tuple(c for c in benchmark.image_columns[:1] if c not in row)


def numbered(benchmark, key: str, value, image: int):
    if key == benchmark.question_column and not benchmark.image_columns:
        return f"{value} ({image})"
    if not key.lower().endswith(("id", "index")) or value is None:
        return value
    return value + image if isinstance(value, int) else f"{value}/{image}"


def as_rows(items) -> list[dict]:
    return [
        {
            "sample_id": item.sample.uid,
            "cluster_id": item.cluster_id,
            "category": item.category,
            "references": list(item.sample.references),
            **item.columns,
            "judgement": "0.5",  # for benchmarks that need a judge; the others never look at it
        }
        for item in items
    ]


@pytest.fixture
def name(request) -> str:
    """A benchmark's id; one that runs code needs a machine that can make the sandbox."""
    if request.param == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")
    return request.param


EVERY = pytest.mark.parametrize("name", names("evals.benchmarks"), indirect=True)


def yes_no(category: str, image: str, response: str, answer: str = "Yes", **more) -> dict:
    return {
        "sample_id": f"{category}{image}{answer}",
        "cluster_id": image,
        "category": category,
        "references": [answer],
        "response": response,
        **more,
    }


@EVERY
def test_gold_scores_the_maximum_and_empty_the_floor(name, tmp_path):
    benchmark = get_benchmark(name)
    rows = as_rows(benchmark.load(write_parquet(tmp_path / "data.parquet", example_rows(name))))
    for profile in benchmark.profiles:
        benchmark = benchmark.for_profile(profile)
        gold, floor = benchmark.check_gold(rows, profile)
        assert gold == pytest.approx(benchmark.max_score(rows))
        assert floor == pytest.approx(benchmark.floor_score(rows, profile))


@EVERY
def test_statistic_of_sums_equals_the_aggregate(name, tmp_path):
    benchmark = get_benchmark(name)
    rows = as_rows(benchmark.load(write_parquet(tmp_path / "data.parquet", example_rows(name))))
    for number, row in enumerate(rows):
        row["response"] = benchmark.gold(row) if number % 3 else "no"
    for profile in benchmark.profiles:
        benchmark = benchmark.for_profile(profile)
        scores = [benchmark.score(row, profile) for row in rows]
        clusters, sums = benchmark.sums(rows, scores, benchmark.layout(rows))
        assert len(clusters) == len(sums) == 12
        metrics = benchmark.aggregate(rows, scores, profile)
        assert benchmark.statistic(sums.sum(axis=0)) == pytest.approx(benchmark.primary(metrics))


@EVERY
def test_broken_data_is_named(name, tmp_path):
    benchmark = get_benchmark(name)
    with pytest.raises(DataError, match="no file or folder"):
        benchmark.load(tmp_path / "gone")
    (tmp_path / "bad.parquet").write_bytes(b"PAR?")
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read"):
        benchmark.load(tmp_path / "bad.parquet")
    short = [
        {key: value for key, value in row.items() if key != benchmark.question_column}
        for row in example_rows(name)
    ]
    with pytest.raises(DataError, match=f"no column {benchmark.question_column}"):
        benchmark.load(write_parquet(tmp_path / "short.parquet", short))
    if not benchmark.image_columns or benchmark.images_are_optional:
        return
    column = benchmark.image_columns[0]
    blind = [{**row, column: None} for row in example_rows(name)]
    with pytest.raises(DataError, match="no image in any row"):
        benchmark.load(write_parquet(tmp_path / "blind.parquet", blind))
    gone = [{k: v for k, v in row.items() if k != column} for row in example_rows(name)]
    with pytest.raises(DataError, match=f"no column {column}"):
        benchmark.load(write_parquet(tmp_path / "gone.parquet", gone))
    one = [{**row, column: None} if n == 0 else row for n, row in enumerate(example_rows(name))]
    items = benchmark.load(write_parquet(tmp_path / "one.parquet", one))
    assert [item.problem for item in items] == ["no image"] + [""] * (len(one) - 1)
    assert items[0].sample.images == ()
    assert not any("Image" in type(part).__name__ for part in items[0].sample.messages[0].parts)


def test_named_files_are_the_parts(mme_folder):
    benchmark, items = open_benchmark(BenchmarkConfig(name="mme", path=str(mme_folder)))
    assert [item.part for item in items].count("select") == 60
    assert [item.part for item in items].count("report") == 80
    assert benchmark.load(mme_folder, "select") == [i for i in items if i.part == "select"]
    assert items[0].sample.messages[0].text == items[0].question
    assert items[0].columns == {"question_id": "count/0100.png"}


def test_parts_that_share_an_image_are_refused(tmp_path):
    write_parquet(tmp_path / "select.parquet", mme_rows(0, 2))
    write_parquet(tmp_path / "report.parquet", mme_rows(1, 2))
    with pytest.raises(DataError, match="is in select and in report"):
        get_benchmark("mme").load(tmp_path)


def test_unnamed_data_is_split_by_image_about_one_to_two(tmp_path):
    items = get_benchmark("mme").load(write_parquet(tmp_path / "test.parquet", mme_rows(0, 300)))
    select = {item.cluster_id for item in items if item.part == "select"}
    report = {item.cluster_id for item in items if item.part == "report"}
    assert not select & report
    assert 75 < len(select) < 125


def test_limit_nests_is_stratified_and_keeps_pairs(mme_folder):
    mme = get_benchmark("mme")
    small = mme.load(mme_folder, limit=12)
    large = mme.load(mme_folder, limit=30)
    assert {item.sample.uid for item in small} <= {item.sample.uid for item in large}
    for part in ("select", "report"):
        picked = [item for item in large if item.part == part]
        assert len(picked) == 30
        assert all(sum(i.cluster_id == item.cluster_id for i in picked) == 2 for item in picked)
    select = [item.category for item in large if item.part == "select"]
    assert select.count("count") == 20  # 40 of the 60 questions are count


def test_a_limit_too_small_for_one_image_says_so(mme_folder):
    mme = get_benchmark("mme")
    with pytest.raises(DataError, match=r"limit 1 leaves the report part without.*2 or more"):
        mme.load(mme_folder, limit=1)
    assert len(mme.load(mme_folder, limit=2)) == 4


def test_jsonl_with_image_paths(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [{**row, "image": "a.png"} for row in mme_rows(1, 1)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = get_benchmark("mme").load(tmp_path / "data.jsonl")
    assert items[0].cluster_id == items[1].cluster_id


def test_prompts_as_rendered(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", mme_rows(0, 1))
    mme = get_benchmark("mme")
    closing = "\nAnswer the question using a single word or phrase."
    assert mme.load(file)[0].sample.messages[0].text == (
        "Are there 0 dots? Please answer yes or no."
    )
    assert mme.load(file, profile="lmms_eval")[0].sample.messages[0].text == (
        "Are there 0 dots?" + closing
    )
    assert mme.load(file, prompt="Q: {question}")[0].sample.messages[0].text.startswith("Q: Are")
    rows = [{**textvqa_rows(0, 1)[0], "question": "what does the McDonald sign say?"}]
    textvqa, file = get_benchmark("textvqa"), write_parquet(tmp_path / "b.parquet", rows)
    assert textvqa.load(file)[0].sample.messages[0].text == (
        "what does the McDonald sign say?" + closing
    )
    assert textvqa.load(file, profile="lmms_eval")[0].sample.messages[0].text == (
        "What does the mcdonald sign say?" + closing
    )


def test_mme_score_by_hand():
    mme = get_benchmark("mme")
    rows = [
        yes_no("count", "a", "Yes"),
        yes_no("count", "a", "No", "No"),
        yes_no("count", "b", "Yes"),
        yes_no("count", "b", "Yes", "No"),
        yes_no("code_reasoning", "c", "perhaps"),
        yes_no("code_reasoning", "c", "no", "No"),
    ]
    metrics = mme.aggregate(rows, [mme.score(row) for row in rows])
    assert metrics["categories"]["count"] == {"acc": 0.75, "acc_plus": 0.5, "score": 125.0}
    assert metrics["cognition"] == 50.0
    assert metrics["total"] == 175.0
    assert metrics["parse_rate"] == pytest.approx(5 / 6)
    assert mme.max_score(rows) == 400.0


def test_mme_error_takes_its_image_out():
    mme = get_benchmark("mme")
    rows = [
        yes_no("count", "a", "Yes"),
        yes_no("count", "a", "No", "No"),
        yes_no("count", "b", "Yes"),
        {**yes_no("count", "b", "", "No"), "response": None, "error": "no image"},
    ]
    scores = [mme.score(row) for row in rows]
    assert (scores[3].score, scores[3].status) == (None, "error")
    assert mme.aggregate(rows, scores)["total"] == 200.0


def test_mme_needs_two_questions_an_image():
    mme = get_benchmark("mme")
    rows = [yes_no("count", "a", "Yes"), yes_no("count", "a", "No", "No"), yes_no("count", "b", "")]
    with pytest.raises(DataError, match="image b: 1 question; expected two an image"):
        mme.aggregate(rows, [mme.score(row) for row in rows])


def test_textvqa_needs_ten_references():
    textvqa = get_benchmark("textvqa")
    row = {"sample_id": "a", "references": ["x"] * 9, "response": "x"}
    with pytest.raises(DataError, match="exactly ten"):
        textvqa.score(row)
    assert textvqa.score(row, "lmms_eval").score == 1.0


def test_a_truncated_answer_keeps_its_score():
    score = get_benchmark("mme").score(yes_no("count", "a", "Yes", finish_reason="length"))
    assert (score.score, score.status) == (1.0, "truncated")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: no JSON"),
        ("[1]", ":2: a list; expected a JSON object"),
        (json.dumps({"category": "count"}), ":2: sample_id is None"),
        (json.dumps(yes_no("count", "a", "Yes")), "is on line 1 too"),
        (json.dumps({**yes_no("count", "b", ""), "response": None}), ":2: response is None"),
        (json.dumps({**yes_no("count", "b", ""), "references": []}), ":2: references are"),
        (json.dumps({**yes_no("count", "b", ""), "references": ["red"]}), ":2: reference 'red'"),
        (json.dumps({**yes_no("count", "b", ""), "references": "red"}), ":2: reference 'red'"),
        (json.dumps({**yes_no("count", "b", ""), "references": ""}), ":2: reference ''"),
        (json.dumps(yes_no("cats", "b", "yes")), ":2: category 'cats'"),
    ],
)
def test_bad_rows_are_one_clear_line(tmp_path, line, message):
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps(yes_no("count", "a", "Yes")) + "\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        score_file("mme", file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_benchmark_and_profile(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean textvqa"):
        score_file("textvqaa", tmp_path / "r")
    with pytest.raises(ConfigError, match=r"unknown profile 'oficial'\. Did you mean official"):
        score_file("mme", tmp_path / "r", "oficial")
    with pytest.raises(DataError, match="cannot be read"):
        score_file("mme", tmp_path / "gone.jsonl")


def test_mme_rows_that_name_no_image_pair_as_they_stand():
    mme = get_benchmark("mme")
    rows = [
        {"sample_id": str(n), "category": "count", "references": [answer], "response": "yes"}
        for n, answer in enumerate(["Yes", "Yes", "No", "Yes"])
    ]
    scores = [mme.score(row) for row in rows]
    found = mme.aggregate(rows, scores)["categories"]["count"]
    assert found == {"acc": 0.75, "acc_plus": 0.5, "score": 125.0}
    unique = [
        {**row, "question_id": row["sample_id"], "cluster_id": number // 2}
        for number, row in enumerate(rows)
    ]
    assert mme.aggregate(unique, scores)["categories"]["count"] == found
    lists = [{**row, "question_id": [number // 2]} for number, row in enumerate(rows)]
    assert mme.aggregate(lists, scores)["categories"]["count"] == found
    with pytest.raises(DataError, match="3 questions; expected two"):
        mme.aggregate(rows[:3], scores[:3])
