"""The golden files of POPE, ChartQA, ANLS and OCRBench, and what their programs do beyond them."""

import json

import numpy as np
import pytest

from evals.registry import get_benchmark
from evals.scoring.score import score_file
from rewards.anls import edit_distance
from tests.evals.conftest import FIXTURES


def golden_rows(name: str) -> list[dict]:
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def given(number: int, row: dict, **more) -> dict:
    references = row["references"] if "references" in row else [row["answer"]]
    return {
        "sample_id": number,
        "cluster_id": str(number // 2),
        "references": references,
        "response": row["prediction"],
        **more,
    }


def write(path, rows: list[dict]):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def own_metrics(name, file):
    """Without the standard errors, which every benchmark has."""
    metrics = score_file(name, file)["metrics"]
    return {k: v for k, v in metrics.items() if not k.startswith("stderr")}


def test_pope_labels_and_figures(tmp_path):
    golden = golden_rows("pope")
    rows = [given(n, row, category=row["category"]) for n, row in enumerate(golden)]
    found = score_file("pope", write(tmp_path / "r.jsonl", rows))
    assert [item["parsed"] for item in found["items"]] == [row["label"] for row in golden]
    metrics = found["metrics"]
    assert set(metrics) == {
        "accuracy", "precision", "recall", "f1", "yes_ratio", "f1_mean", "categories",
        "stderr", "stderr_clustered",
    }  # fmt: skip
    for name, figures in [("", metrics), *metrics["categories"].items()]:
        part = [row for row in golden if name in ("", row["category"])]
        predicted = np.array([row["label"] == "yes" for row in part])
        actual = np.array([row["answer"] == "yes" for row in part])
        precision = (predicted & actual).sum() / predicted.sum()
        recall = (predicted & actual).sum() / actual.sum()
        assert figures["precision"] == pytest.approx(precision, abs=1e-12)
        assert figures["recall"] == pytest.approx(recall, abs=1e-12)
        f1 = 2 * precision * recall / (precision + recall)
        assert figures["f1"] == pytest.approx(f1, abs=1e-12)
        assert figures["yes_ratio"] == pytest.approx(predicted.mean(), abs=1e-12)
        assert figures["accuracy"] == pytest.approx((predicted == actual).mean(), abs=1e-12)
    assert metrics["f1_mean"] == pytest.approx(
        np.mean([figures["f1"] for figures in metrics["categories"].values()])
    )
    assert score_file("pope", tmp_path / "r.jsonl") == found


def test_popes_other_profiles_by_hand():
    pope = get_benchmark("pope")
    rows = [
        {
            "cluster_id": "x",
            "references": [reference],
            "response": response,
            "category": category,
        }
        for reference, response, category in [
            ("yes", "Yes ", "random,popular"),
            ("yes", "Yes.", "random"),
            ("no", "no", "popular"),
            ("no", "It is yes", "popular"),
        ]
    ]
    lmms = pope.aggregate(rows, [pope.score(row, "lmms_eval") for row in rows], "lmms_eval")
    # "Yes." and "It is yes" are unread: the first is in neither precision nor recall.
    assert (lmms["accuracy"], lmms["precision"], lmms["recall"]) == (0.5, 1.0, 1.0)
    assert lmms["yes_ratio"] == 0.5
    assert set(lmms["categories"]) == {"random,popular", "random", "popular"}
    scores = [pope.score(row, "vlmevalkit") for row in rows]
    vlm = pope.aggregate(rows, scores, "vlmevalkit")
    # The first row counts in both categories: 3 true positives, 1 false positive of 5 rows.
    assert (vlm["precision"], vlm["recall"], vlm["accuracy"]) == (0.75, 1.0, 0.8)
    assert vlm["categories"]["random"]["accuracy"] == 1.0
    sums = pope.sums(rows, scores, pope.layout(rows))[1].sum(axis=0)
    assert pope.statistic(sums) == pytest.approx(vlm["f1"])


def test_chartqa_verdicts():
    chartqa = get_benchmark("chartqa")
    for number, row in enumerate(golden_rows("chartqa")):
        for profile in ("official", "lmms_eval"):
            assert chartqa.score(given(number, row), profile).score == row["score"], row


@pytest.mark.parametrize(
    ("text", "target", "score"),
    [
        ("14.7", "14", 1.0),
        ("14.71", "14", 0.0),
        ("1_400", "1400", 1.0),
        ("１４", "14", 1.0),
        (" 14\n", "14", 1.0),
        ("nan", "nan", 0.0),
        ("inf", "inf", 0.0),
        ("0.0", "0", 0.0),
        ("0%", "0%", 1.0),
        ("14%", "0.14", 1.0),
        ("%", "%", 1.0),
        ("YES", "Yes", 1.0),
        (" yes", "yes", 0.0),
        ("-14", "14", 0.0),
        ("1e1000", "5", 0.0),
    ],
)
def test_relaxed_match_where_python_is_odd(text, target, score):
    chartqa = get_benchmark("chartqa")
    row = {"sample_id": 1, "references": [target], "response": text, "type": "human_test"}
    found = chartqa.score(row)
    assert found.score == score
    json.loads(json.dumps(found.parsed, allow_nan=False))


def test_chartqa_halves(tmp_path):
    rows = [
        {"sample_id": n, "references": ["3"], "response": response, "type": kind}
        for n, (kind, response) in enumerate(
            [("human_test", "3"), ("human_test", "4"), ("human_test", "9"), ("augmented_test", "3")]
        )
    ]
    metrics = own_metrics("chartqa", write(tmp_path / "r.jsonl", rows))
    assert metrics == {
        "accuracy": 0.5,
        "human": pytest.approx(1 / 3),
        "augmented": 1.0,
        "mean": pytest.approx(2 / 3),
    }
    rows = [{**row, "category": "human", "type": None} for row in rows]
    metrics = own_metrics("chartqa", write(tmp_path / "h.jsonl", rows))
    assert metrics == {"accuracy": 0.5, "human": 0.5, "augmented": None, "mean": 0.5}


@pytest.mark.parametrize("name", ["docvqa", "infovqa"])
def test_anls_values(name, tmp_path):
    golden = golden_rows("anls")
    rows = [given(number, row) for number, row in enumerate(golden)]
    found = score_file(name, write(tmp_path / "r.jsonl", rows))
    for item, row in zip(found["items"], golden, strict=True):
        assert item["score"] == pytest.approx(row["score"], abs=1e-12), row
    mean = np.mean([row["score"] for row in golden])
    assert found["metrics"]["anls"] == pytest.approx(mean, abs=1e-9)
    assert score_file(name, tmp_path / "r.jsonl", "vlmevalkit")["items"] == found["items"]


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        ("", "", 1.0),
        ("   ", "", 1.0),
        ("hello  world", "Hello World", 1.0),
        ("abcd", "abxx", 0.5),
        ("abc", "axx", 0.0),
        ("strasse", "straße", 1 - 2 / 7),
        ("İ", "i", 0.0),
        ("x" * 1_000_000, "x", 0.0),
    ],
)
def test_anls_edges(text, reference, score):
    row = {"references": [reference, "qqqqqqqqqqqqqqqqqq"], "response": text}
    assert get_benchmark("docvqa").score(row).score == pytest.approx(score)


def test_edit_distance_against_the_definition():
    words = ["", "a", "ab", "ba", "abc", "cab", "aabb", "bbaa"]

    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    assert all(edit_distance(a, b) == slow(a, b) for a in words for b in words)


def test_ocrbench_verdicts_and_counts(tmp_path):
    golden = golden_rows("ocrbench")
    rows = [
        given(n, row, question_type=row["question_type"], dataset=row["dataset"])
        for n, row in enumerate(golden)
    ]
    file = write(tmp_path / "r.jsonl", rows)
    found = score_file("ocrbench", file)
    assert [item["score"] for item in found["items"]] == [row["score"] for row in golden]
    metrics = found["metrics"]
    own = {"total", "categories", "text_recognition"}
    assert set(metrics) == own | {"stderr", "stderr_clustered"}
    assert metrics["total"] == sum(row["score"] for row in golden)
    assert metrics["total"] == sum(metrics["categories"].values())
    assert metrics["text_recognition"] == sum(
        row["score"] for row in golden if row["question_type"].endswith("Recognition")
        and not row["question_type"].startswith("Handwritten Math")
    )  # fmt: skip
    assert score_file("ocrbench", file) == found
    wide = {**rows[0], "references": ["abc d"], "response": "ａｂｃ　ｄ"}
    ocrbench = get_benchmark("ocrbench")
    assert [ocrbench.score(wide, profile).score for profile in ocrbench.profiles] == [0, 1, 0]


def test_ocrbench_formulas():
    ocrbench = get_benchmark("ocrbench")
    row = {"references": ["\\frac { a } { B }"], "response": "so \\frac{a}{B}"}
    formula = "Handwritten Mathematical Expression Recognition"
    assert ocrbench.score({**row, "dataset": "HME100k"}).score == 1.0
    assert ocrbench.score({**row, "dataset": "HME100k", "response": "\\frac{a}{b}"}).score == 0.0
    assert ocrbench.score({**row, "dataset": "other", "question_type": formula}).score == 0.0
    other = {**row, "dataset": "other", "question_type": formula}
    assert ocrbench.score(other, "vlmevalkit").score == 1.0
    assert ocrbench.score({**row, "question_type": formula}).score == 1.0


def test_vqav2_agrees_with_the_tool_on_the_golden_rows():
    vqav2 = get_benchmark("vqav2")
    for number, row in enumerate(golden_rows("textvqa")):
        score = vqav2.score(given(number, row))
        assert score.score == pytest.approx(row["vqa_official"], abs=1e-12), row


@pytest.mark.parametrize(
    ("response", "references", "official", "lmms_eval", "vlmevalkit"),
    [
        ("yes.", ["yes"] * 10, 0.0, 1.0, 1.0),
        ("yes\n", ["yes"] * 10, 1.0, 1.0, 1.0),
        ("yes.", ["yes"] * 9 + ["no"], 1.0, 1.0, 1.0),
        ("3.", ["3"] * 3 + ["4"] * 7, 0.9, 0.9, 0.0),
        ("The Cat", ["cat"] * 2 + ["dog"] * 8, 0.6, 0.6, 0.6),
        ("1,,000;x", ["1000x"] * 9 + ["y"], 0.0, 1.0, 0.0),
        ("", ["the"] * 5 + ["cat"] * 5, 1.0, 1.0, 1.0),
    ],
)
def test_vqav2_profiles(response, references, official, lmms_eval, vlmevalkit):
    vqav2 = get_benchmark("vqav2")
    row = {"response": response, "references": references}
    found = [vqav2.score(row, profile).score for profile in vqav2.profiles]
    assert found == pytest.approx([official, lmms_eval, vlmevalkit])


def test_vqav2_by_answer_type(tmp_path):
    rows = [
        {
            "sample_id": n,
            "references": ["yes"] * 10,
            "response": response,
            "answer_type": kind,
            "question_type": "is the",
        }
        for n, (kind, response) in enumerate(
            [("yes/no", "yes"), ("yes/no", "no"), ("other", "yes"), ("number", "2")]
        )
    ]
    metrics = score_file("vqav2", write(tmp_path / "r.jsonl", rows))["metrics"]
    assert metrics["accuracy"] == 0.5
    assert metrics["answer_type"] == {"number": 0.0, "other": 1.0, "yes/no": 0.5}


def test_vizwiz_without_references():
    vizwiz = get_benchmark("vizwiz")
    assert vizwiz.score({"response": "x", "references": []}).score == 0.0
    row = {"response": "Unanswerable.", "references": ["unanswerable"] * 3 + ["cat"] * 7}
    assert vizwiz.score(row).score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("response", "official", "lmms_eval", "vlmevalkit"),
    [
        ("No", 1, 1, 1),
        (" no.", 1, 0, 0),
        ("no.", 1, 1, 0),
        ("no!", 0, 1, 0),
        ("no\n", 1, 0, 1),
        ("none", 0, 0, 0),
    ],
)
def test_gqa_profiles(response, official, lmms_eval, vlmevalkit):
    gqa = get_benchmark("gqa")
    row = {"response": response, "references": ["no"]}
    assert [gqa.score(row, profile).score for profile in gqa.profiles] == [
        official, lmms_eval, vlmevalkit,
    ]  # fmt: skip


def test_gqa_figures_of_the_authors_that_rows_permit():
    """Two groups: colours 2 of 3 right (red red blue, said red red red), weather none of one."""
    gqa = get_benchmark("gqa")
    given = [
        ("query", "attr", "colour", "red", "Red."),
        ("query", "attr", "colour", "red", "red"),
        ("choose", "attr", "colour", "blue", "red"),
        ("verify", "global", "weather", "yes", "no"),
        ("verify", "global", None, "yes", "yes"),
    ]
    rows = [
        {
            "category": structure,
            "semantic": meaning,
            "group": group,
            "references": [reference],
            "response": response,
        }
        for structure, meaning, group, reference, response in given
    ]
    metrics = gqa.aggregate(rows, [gqa.score(row) for row in rows])
    assert (metrics["open"], metrics["binary"]) == (1.0, pytest.approx(1 / 3))
    assert metrics["categories"] == {"choose": 0.0, "query": 1.0, "verify": 0.5}
    assert metrics["semantic"] == {"attr": pytest.approx(2 / 3), "global": 0.5}
    # ((3-2)^2/2 + (0-1)^2/1) * 3 + ((0-1)^2/1) * 1, over the 4 questions of groups, over 100.
    assert metrics["distribution"] == pytest.approx((1.5 * 3 + 1) / 4 / 100)
    bare = gqa.aggregate([{**rows[0], "category": "all", "group": None}], [gqa.score(rows[0])])
    assert (bare["open"], bare["binary"], bare["distribution"]) == (None, None, None)


def test_prompts_of_every_profile():
    short = "\nAnswer the question using a single word or phrase."
    row = {"question": "Is McDonald here? "}
    wanted = {
        "pope": (row["question"], "Is McDonald here?" + short, row["question"]),
        "vqav2": (row["question"] + short,) * 3,
        "gqa": (row["question"] + short,) * 3,
        "docvqa": (row["question"] + short,) * 3,
        "infovqa": (row["question"] + short,) * 3,
        "ocrbench": ("Is McDonald here?", "Is McDonald here?", row["question"]),
        "chartqa": (
            *[row["question"] + "\nAnswer the question with a single word."] * 2,
            row["question"] + short,
        ),
        "vizwiz": (
            row["question"] + "\nWhen the provided information is insufficient, respond with "
            "'Unanswerable'." + short,
            "Is mcdonald here? \nWhen the provided information is insufficient, respond with "
            "'Unanswerable'." + short,
            row["question"],
        ),
    }
    for name, texts in wanted.items():
        benchmark = get_benchmark(name)
        assert tuple(benchmark.prompt(row, p) for p in benchmark.profiles) == texts, name
