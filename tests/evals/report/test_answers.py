"""Which answers the page holds, and what a difference is split into."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.report.answers.reading import read_answers
from evals.report.files import slug
from evals.report.run import read_run
from rl.errors import EvalError


def change(run, stage, name, fields):
    for file, change in fields.items():
        path = run / "evals" / stage / "mme" / file
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | change if row["sample_id"] == name else row for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_questions_that_tell_stages_apart_come_first_and_the_order_is_fixed(make_run):
    run = read_run(make_run())
    found = read_answers(run, "mme")
    differs = [len({(a.score, a.flag) for a in question.answers}) > 1 for question in found]
    assert differs == sorted(differs, reverse=True)
    assert [q.id for q in found] == [q.id for q in read_answers(run, "mme")]


def test_an_answer_that_failed_on_our_side_is_no_wrong_answer(make_run):
    run = make_run(stages=("base", "sft"))
    failed = {
        "responses.jsonl": {"error": "image unreadable", "response": None},
        "scores.jsonl": {"score": None, "status": "error", "parsed": None},
    }
    change(run, "sft", "report-0000-0", failed)
    found = {question.id: question for question in read_answers(read_run(run), "mme")}
    told = found["report-0000-0"].answers[1]
    assert (told.score, told.flag, told.text, told.error) == (None, "e", "", "image unreadable")


def test_a_row_without_its_cluster_is_named(make_run):
    """The report's intervals resample clusters, as those of the results do."""
    run = make_run(stages=("base",), benchmarks=("mme",))
    change(run, "base", "report-0003-0", {"responses.jsonl": {"cluster_id": None}})
    with pytest.raises(EvalError, match=r"report-0003-0: no cluster_id; expected the hash"):
        read_answers(read_run(run), "mme")


def test_image_names_that_are_no_hashes_are_left_out(make_run):
    run = make_run(stages=("base",), benchmarks=("mme",))
    change(run, "base", "report-0000-0", {"responses.jsonl": {"images": ["../../etc/passwd"]}})
    found = {question.id: question for question in read_answers(read_run(run), "mme")}
    assert found["report-0000-0"].images == []
    assert found["report-0001-0"].images != []


def test_a_stage_that_missed_a_question_has_a_gap(make_run):
    run = make_run(stages=("base", "sft"), benchmarks=("mme",))
    path = run / "evals" / "sft" / "mme" / "responses.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    found = read_answers(read_run(run), "mme")
    assert sum(question.answers[1] is None for question in found) == 1


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot see the image.", True),
        ("As an AI, I have no eyes.", True),
        ("抱歉，我无法回答。", True),
        ("Sorry", True),
        ("I can see a cat", False),
        ("No", False),
        ("The sign says I'm sorry", False),
        ("Unable Street", False),
    ],
)
def test_an_answer_that_begins_like_a_refusal_is_one(make_run, text, is_refused):
    answers = {("sft", "mme", "report-0000-0"): text}
    run = read_run(make_run(stages=("base", "sft"), benchmarks=("mme",), answers=answers))
    found = {question.id: question for question in read_answers(run, "mme")}
    assert found["report-0000-0"].answers[1].is_refused is is_refused


@settings(deadline=None)
@given(st.text())
def test_a_folders_name_is_plain_and_a_benchmarks_own(name):
    assert slug(name).strip("abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
    assert slug(name)
    assert slug(name) == name or slug(name) != slug(name + "x")
