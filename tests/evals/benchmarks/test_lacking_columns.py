"""`plumbline score` asks a row for no more than its rule needs: options where they are read."""

import pytest

from evals.registry import get_benchmark
from rl.errors import DataError


def row(response: str, **columns) -> dict:
    return {"sample_id": "1", "references": ["B"], "response": response, **columns}


@pytest.mark.parametrize(
    ("name", "profile", "answers"),
    [
        ("ai2d", "lmms_eval", {"(B)": (1.0, "B"), "B. cat": (1.0, "B"), "B) cat": (0.0, None)}),
        ("seedbench", "lmms_eval", {"b": (1.0, "B"), "The answer is B": (0.0, "T")}),
        ("mmstar", "lmms_eval", {"answer: B": (1.0, "B"), "E": (0.0, None)}),
        ("scienceqa", "lmms_eval", {"B.": (1.0, "B"), "(B)": (0.0, None)}),
        ("mmlu", "official", {" (b).\nno": (1.0, "B"), "E": (0.0, None)}),
        ("mmlu", "flexible", {"It is B.": (1.0, "B"), "E": (0.0, None)}),
        ("ceval", "official", {"B。": (1.0, "B"), "B cat": (0.0, None)}),
        ("ceval", "flexible", {"答案：B": (1.0, "B")}),
    ],
)
def test_letters_are_read_without_options(name, profile, answers):
    benchmark = get_benchmark(name)
    options = ["red", "green", "blue", "grey"]
    for text, told in answers.items():
        for columns in ({}, {"options": None}, {"options": options}):
            score = benchmark.score(row(text, **columns), profile)
            assert (score.score, score.parsed) == told, (text, columns)


@pytest.mark.parametrize("name", ["ai2d", "seedbench", "mmstar", "scienceqa"])
def test_matching_texts_needs_them(name):
    with pytest.raises(DataError, match="options are None"):
        get_benchmark(name).score(row("B"), "official")


def test_options_that_are_none_are_refused_where_they_are_read():
    for name in ("ai2d", "scienceqa"):
        with pytest.raises(DataError, match="options are 5"):
            get_benchmark(name).score(row("B", options=5), "lmms_eval")


def test_mmmu_has_its_six_domains():
    """By the row's own domain, else by its subject's; micro, as the authors count."""
    mmmu = get_benchmark("mmmu")
    rows = [
        {"sample_id": f"validation_{subject}_{n}", "references": ["A"], "options": ["x", "y"]}
        for subject, num in (("Accounting", 1), ("Finance", 3), ("Art", 1), ("Made_Up", 1))
        for n in range(num)
    ]
    rows[-1]["domain"] = "Science"
    texts = ["A", "A", "B", "B", "A", "B"]
    given = [{**one, "response": text} for one, text in zip(rows, texts, strict=True)]
    metrics = mmmu.aggregate(given, [mmmu.score(one) for one in given])
    assert metrics["domains"] == {"Art and Design": 1.0, "Business": 0.5, "Science": 0.0}
    assert metrics["subjects"]["Finance"] == pytest.approx(1 / 3)
