"""A benchmark with one category is told by kind of question."""

import json

from evals.report.answers.kinds import OTHER, is_kind, kinds
from evals.report.answers.reading import read_answers
from evals.report.run import read_run


def test_a_kind_is_how_at_least_three_in_a_hundred_questions_begin():
    asked = ["How many cats?"] * 60 + ["What color is it?"] * 35 + ["Why?"] * 4 + ["Who is it"]
    found = kinds(asked)
    assert {kind: found.count(kind) for kind in found} == {
        "“how many …”": 60,
        "“what color …”": 35,
        OTHER: 5,
    }
    assert all(map(is_kind, found))
    assert not is_kind("color")


def test_one_kind_is_none():
    assert kinds(["Is it red?"] * 20) == [""] * 20
    assert kinds([]) == []


def test_categories_are_left_as_they_are(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("textvqa",))
    assert {q.category for q in read_answers(read_run(run), "textvqa")} == {"digits", "words"}
    for path in run.glob("evals/*/textvqa/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["category"] = "all"
            if "question" in row and row["sample_id"].endswith("1"):
                row["question"] = "How many are there?"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_answers(read_run(run), "textvqa")
    assert {q.category for q in found} == {"“what stands …”", "“how many …”"}
