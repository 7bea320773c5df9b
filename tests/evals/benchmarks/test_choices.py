"""Multiple-choice benchmarks: golden verdicts through `score_file`, aggregates by hand, prompts as
rendered.
"""

import json

import pytest

from evals.benchmarks.mmmu import DOMAINS
from evals.registry import get_benchmark
from evals.scoring.score import score_file
from rl.core import Image
from rl.errors import DataError
from tests.evals.benchmarks.test_benchmarks import example_rows
from tests.evals.conftest import png, write_parquet
from tests.rewards.golden import rows_of


def scored(tmp_path, benchmark: str, rows: list[dict], profile: str = "official") -> dict:
    file = tmp_path / f"{benchmark}.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return score_file(benchmark, file, profile)


def prompts(name: str, tmp_path, profile: str) -> list[str]:
    file = write_parquet(tmp_path / f"{name}.parquet", example_rows(name, 1))
    items = get_benchmark(name).load(file, profile=profile)
    return [item.sample.messages[0].text for item in items]


@pytest.mark.parametrize(
    ("profile", "column"),
    [("official", "letter"), ("lmms_eval", "letter"), ("vlmevalkit", "letter_vlmevalkit")],
)
def test_mcq_golden(tmp_path, profile, column):
    golden = rows_of("mcq")
    rows = [
        {"sample_id": n, "options": row["options"], "response": row["prediction"]}
        for n, row in enumerate(golden)
    ]
    for row, one in zip(rows, golden, strict=True):
        row["references"] = ["B"] if one[column] else [one[column]]
    found = scored(tmp_path, "mcq", rows, profile)
    assert [item["parsed"] for item in found["items"]] == [row[column] for row in golden]
    right = [row[column] in ("B", None) for row in golden]
    assert found["metrics"]["accuracy"] == sum(right) / len(golden)
    assert [item["status"] == "unparsed" for item in found["items"]] == [
        row[column] is None for row in golden
    ]


def test_mcq_needs_options_for_option_texts_alone(tmp_path):
    row = {"sample_id": 1, "references": ["B"], "response": "(B)"}
    assert scored(tmp_path, "mcq", [row], "lmms_eval")["items"][0]["score"] == 1.0
    with pytest.raises(DataError, match="options are None"):
        scored(tmp_path, "mcq", [row], "vlmevalkit")


CHOICE = {"sample_id": 2, "options": ["x", "y"], "response": "hello"}


@pytest.mark.parametrize("references", ["absent", None, [], [None], "", [""]])
def test_mcq_without_a_reference_is_right_where_nothing_is_read(tmp_path, references):
    row = {**CHOICE, **({} if references == "absent" else {"references": references})}
    assert scored(tmp_path, "mcq", [row])["items"][0]["score"] == 1.0
    assert scored(tmp_path, "mcq", [{**row, "response": "A"}])["items"][0]["score"] == 0.0


@pytest.mark.parametrize("references", [0, [0], 5, False, {}, {"a": 1}])
@pytest.mark.parametrize("name", ["mcq", "mmmu", "mmbench", "ai2d", "mmlu"])
def test_references_that_are_no_text_are_refused(tmp_path, name, references):
    row = {**CHOICE, "index": 2, "references": references, "response": "A"}
    for profile in get_benchmark(name).profiles:
        with pytest.raises(DataError, match=r"jsonl:1: references are .*; expected ") as caught:
            scored(tmp_path, name, [row], profile)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mcq", "mmmu", "mmbench", "ai2d"])
def test_a_reference_that_no_option_has_is_never_right(name):
    row = {**CHOICE, "index": 2, "references": ["C"], "response": "C"}
    assert get_benchmark(name).score(row).score == 0.0


def test_mmmu_accepts_any_of_several_letters():
    row = {**CHOICE, "references": ["A", "b"], "response": "B"}
    expected = {"official": 1.0, "lmms_eval": 1.0, "vlmevalkit": 0.0}
    for profile, score in expected.items():
        assert get_benchmark("mmmu").score(row, profile).score == score
        assert get_benchmark("mmmu").score({**row, "response": "A"}, profile).score == 1.0


def mmmu_golden() -> list[dict]:
    return [
        {
            "sample_id": n,
            "category": "Art" if n % 2 else "Music",
            "question_type": row["question_type"],
            "references": [row["answer"]],  # a list of accepted answers stays one reference
            "response": row["prediction"],
            **({"options": row["options"]} if "options" in row else {}),
        }
        for n, row in enumerate(rows_of("mmmu"))
    ]


def test_mmmu_golden(tmp_path):
    golden = rows_of("mmmu")
    found = scored(tmp_path, "mmmu", mmmu_golden())
    assert set(found["metrics"]) == {
        *("accuracy", "multiple_choice", "open"),
        *("subjects", "domains", "parse_rate"),
        *("stderr", "stderr_clustered"),
    }
    right = []
    for row, item in zip(golden, found["items"], strict=True):
        if row["question_type"] == "open":
            right.append(row["correct"])
        else:
            assert item["parsed"] == row["parsed"]
            right.append(row["parsed"] == row["answer"])
        assert item["score"] == float(right[-1]), row
    assert found["metrics"]["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-12)
    is_open = [row["question_type"] == "open" for row in golden]
    of_open = [value for value, kind in zip(right, is_open, strict=True) if kind]
    assert found["metrics"]["open"] == pytest.approx(sum(of_open) / len(of_open), abs=1e-12)
    assert list(found["metrics"]["subjects"]) == ["Art", "Music"]
    domains = found["metrics"]["domains"]
    assert domains == {"Art and Design": pytest.approx(found["metrics"]["accuracy"])}


@pytest.mark.parametrize("references", [[["5", "five"]], ["5", "five"], ["['5', 'five']"]])
def test_mmmu_accepts_a_list_of_open_answers_in_any_form(references):
    row = {
        "sample_id": 1,
        "question_type": "open",
        "references": references,
        "response": "it is five",
    }
    assert get_benchmark("mmmu").score(row).score == 1.0


@pytest.mark.parametrize("references", [["[7, 8]"], ["['7', 8.0]"], [[7, 8]], [7, 8], "[8]"])
def test_mmmu_accepts_a_list_of_numbers(references):
    row = {"sample_id": 1, "question_type": "open", "references": references, "response": "8"}
    assert get_benchmark("mmmu").score(row).score == 1.0
    assert get_benchmark("mmmu").score({**row, "response": "9"}).score == 0.0


def test_mmmu_list_of_numbers_is_one_text_to_vlmevalkit():
    row = {"sample_id": 1, "question_type": "open", "references": ["[7, 8]"], "response": "[7, 8]"}
    assert get_benchmark("mmmu").score(row, "vlmevalkit").score == 1.0
    with pytest.raises(DataError, match="references are"):
        get_benchmark("mmmu").score({**row, "references": [None]})


def test_mmmu_open_answers_by_the_other_profiles():
    mmmu = get_benchmark("mmmu")
    row = {"sample_id": 1, "question_type": "open", "references": ["7"], "response": "7"}
    assert mmmu.score(row, "lmms_eval").score == 0.0  # as there: compared letter by letter
    assert mmmu.score(row, "vlmevalkit").score == 1.0
    other = {**row, "response": "Other Answers"}
    assert mmmu.score(other, "vlmevalkit") == mmmu.score({**row, "response": "B"}, "vlmevalkit")
    assert (
        mmmu.for_profile("lmms_eval").max_score(
            [row, {**row, "options": ["a", "b"], "question_type": "multiple-choice"}]
        )
        == 0.5
    )


def test_mmmu_images_stand_where_they_are_named(tmp_path):
    row = {
        **get_benchmark("mmmu").examples[0],
        "question": "Which of <image 2> and <image 1> is like <image 2>?",
        "options": "['<image 3>', 'none', \"it's <image 1>\"]",
        "answer": "C",
        **{f"image_{n}": {"bytes": png(n), "path": None} for n in (1, 2, 3, 4)},
    }
    (item,) = get_benchmark("mmmu").load(write_parquet(tmp_path / "a.parquet", [row]))
    parts = item.sample.messages[0].parts
    shown = [part.index if isinstance(part, Image) else part.text.strip() for part in parts]
    assert shown == [
        3,
        "Which of",
        1,
        "and",
        0,
        "is like",
        1,
        "?\n(A)",
        2,
        "\n(B) none\n(C) it's".strip(),
        0,
        shown[-1],
    ]
    assert shown[-1].endswith("directly.")
    assert [image.read() for image in item.sample.images] == [png(n) for n in (1, 2, 3, 4)]
    assert item.columns["options"] == ["<image 3>", "none", "it's <image 1>"]
    (item,) = get_benchmark("mmmu").load(tmp_path / "a.parquet", profile="lmms_eval")
    first, *_, text = item.sample.messages[0].parts
    assert isinstance(first, Image)
    assert text.text.startswith("Which of <image 2> and <image 1> is like <image 2>?\nA. <image 3>")
    assert [image.read() for image in item.sample.images] == [png(n) for n in (1, 2, 3)]
    with pytest.raises(DataError, match=r"row 0: .*<image 9> .* image_9 is empty; exp"):
        get_benchmark("mmmu").load(
            write_parquet(tmp_path / "b.parquet", [{**row, "question": "See <image 9>"}])
        )


def test_mmmu_has_thirty_subjects():
    assert sum(map(len, DOMAINS.values())) == 30


def test_hallusionbench_by_hand():
    def row(number, category, figure, question, response):
        return {
            "sample_id": str(number),
            "cluster_id": str(number),
            "category": category,
            "subcategory": "ocr",
            "set_id": "0",
            "figure_id": figure,
            "question_id": question,
            "references": ["1"],
            "response": response,
        }

    rows = [
        row(0, "VS", "0", "0", "Unclear"),
        row(1, "VS", "0", "1", "Yes."),
        row(2, "VS", "1", "0", "yes"),
        row(3, "VS", "1", "1", "Yes"),
        row(4, "VD", "2", "0", "Yes and no"),
    ]
    bench = get_benchmark("hallusionbench")
    scores = [bench.score(one) for one in rows]
    assert [score.parsed for score in scores] == ["other", "yes", "yes", "yes", "other"]
    metrics = bench.aggregate(rows, scores)
    assert {key: metrics[key] for key in ("aacc", "facc", "qacc")} == {
        "aacc": 60.0,
        "facc": pytest.approx(100 / 3),
        "qacc": 50.0,
    }
    assert metrics["categories"]["VS"]["facc"] == 50.0
    by_lmms_eval = bench.aggregate(rows, scores, "lmms_eval")
    assert by_lmms_eval["facc"] == 50.0  # figure 0 of VS left out
    assert by_lmms_eval["qacc"] == pytest.approx(100 / 3)  # VD's question is another
    assert bench.max_score(rows) == 100.0


def test_mmstar_means_of_level_two_means():
    def row(number, category, l2, response):
        return {
            "sample_id": str(number),
            "cluster_id": str(number),
            "category": category,
            "l2_category": l2,
            "options": ["x", "y"],
            "references": ["A"],
            "response": response,
        }

    rows = [
        *(row(n, "math", "geometry", "A") for n in range(3)),
        row(3, "math", "statistics", "B"),
        row(4, "logic", "diagrams", "A"),
    ]
    for profile, accuracy, math in (("official", 0.8, 0.75), ("lmms_eval", 2 / 3, 0.5)):
        mmstar = get_benchmark("mmstar").for_profile(profile)
        scores = [mmstar.score(one, profile) for one in rows]
        metrics = mmstar.aggregate(rows, scores, profile)
        assert metrics["accuracy"] == pytest.approx(accuracy)
        assert metrics["categories"] == {"logic": 1.0, "math": math}
        _, sums = mmstar.sums(rows, scores, mmstar.layout(rows))
        assert mmstar.statistic(sums.sum(axis=0)) == pytest.approx(accuracy)


def test_mmstar_options_may_hold_commas_and_colons():
    row = {"question": "What?\nOptions: A: one, two, B: C: three, C: a B: b, D: last"}
    assert get_benchmark("mmstar").options(row) == {
        "A": "one, two",
        "B": "C: three",
        "C": "a B: b",
        "D": "last",
    }


@pytest.mark.parametrize(
    ("name", "response", "official", "lmms_eval"),
    [
        ("ai2d", "(B)", 1.0, 1.0),
        ("ai2d", "B) it is", 1.0, 0.0),
        ("scienceqa", "(B)", 1.0, 0.0),
        ("scienceqa", "B. New Hampshire", 1.0, 1.0),
        ("seedbench", "The answer is A", 1.0, 0.0),
        ("seedbench", "a", 0.0, 1.0),
        ("mmstar", "A cat sits here and there", 0.0, 1.0),
    ],
)
def test_where_profiles_differ(tmp_path, name, response, official, lmms_eval):
    benchmark = get_benchmark(name)
    file = write_parquet(tmp_path / "a.parquet", example_rows(name, 1))
    (item,) = benchmark.load(file)
    row = {
        "sample_id": item.sample.uid,
        "references": list(item.sample.references),
        "response": response,
        **item.columns,
    }
    assert benchmark.score(row).score == official
    assert benchmark.score(row, "vlmevalkit").score == official
    assert benchmark.score(row, "lmms_eval").score == lmms_eval
    assert benchmark.random_baseline([row]) == 0.25


def test_prompts_as_rendered(tmp_path):
    closing = "\nAnswer with the option's letter from the given choices directly."
    lines = "\nA. c\nB. D\nC. b\nD. a"
    assert prompts("ai2d", tmp_path, "official") == [
        "which of these define dairy item" + lines + closing
    ]
    assert prompts("ai2d", tmp_path, "vlmevalkit") == [
        "Question: which of these define dairy item\nOptions:"
        + lines
        + "\nPlease select the correct answer from the options above. \n"
    ]
    assert prompts("mmbench", tmp_path, "lmms_eval")[0] == (
        "Identify the question that can be answered. There are several options:\n"
        "A. Can it swim?\nB. Does it fly?\n" + closing
    )
    assert prompts("mmmu", tmp_path, "lmms_eval")[0] == (
        "<image 1> What does each machine cost?\nA. $6\nB. $7\nC. $8\nD. $9\n" + closing
    )
    assert prompts("mmmu", tmp_path, "official")[0] == (
        " What does each machine cost?\n(A) $6\n(B) $7\n(C) $8\n(D) $9\n" + closing
    )
    assert prompts("mmmu", tmp_path, "official")[1].endswith(
        "cost?\nAnswer the question using a single word or phrase."
    )
    assert prompts("mmstar", tmp_path, "lmms_eval")[0].endswith(closing.removesuffix("."))
    assert prompts("mmlu", tmp_path, "official")[0].startswith(
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "Answer with the letter"
    )
    assert prompts("hallusionbench", tmp_path, "official")[0] == (
        "Is the right circle as large as the left circle?"
    )


@pytest.mark.parametrize(
    ("response", "parsed"), [("0", 0.0), ("nan", "nan"), ("1e999", "inf"), ("", None)]
)
def test_mmmu_open_numbers_stand_in_json(tmp_path, response, parsed):
    row = {"sample_id": 0, "references": ["0"], "question_type": "open", "response": response}
    found = scored(tmp_path, "mmmu", [row])
    json.dumps(found, allow_nan=False)
    assert found["items"][0]["parsed"] == parsed
    assert found["metrics"]["parse_rate"] == (parsed is not None)
