"""What an answer states, whatever the words around it."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks.textvqa import TextVQA
from evals.registry import get_benchmark
from evals.report import build_report
from evals.report.answers.content import Contents
from evals.report.answers.wording import words
from evals.scoring.samples import score_rows
from rl.plugins import names
from tests.evals.benchmarks.test_any_text import ANY, DENSE, rows_of
from tests.evals.report.test_build import script

THREE = {"sample_id": "q", "references": ["3"] * 7 + ["three", "4", "unanswerable"]}


def content(benchmark, row, profile="official"):
    judge = get_benchmark(benchmark)
    (told,) = score_rows(judge, [row], profile).scores
    return told.score, Contents(judge).of(row, told.score, told.parsed, profile)


@pytest.mark.parametrize(
    ("said", "score", "stated"),
    [
        ("3", 1.0, 1.0),
        ("There are 3 shapes.", 0.0, 1.0),
        ("There are three shapes.", 0.0, 1.0),
        ("Maybe 4", 0.0, 0.3),
        ("There are 13 shapes.", 0.0, 0.0),
        ("3.5", 0.0, 0.0),
        ("-3 or so", 0.0, 0.0),
        ("unanswerable", 0.3, 0.3),
        ("", 0.0, 0.0),
    ],
)
def test_content_is_what_the_rule_gives_the_reference_that_stands_there(said, score, stated):
    told = content("textvqa", THREE | {"response": said})
    assert told == pytest.approx((score, stated), abs=1e-9)


def test_what_the_rule_reads_in_part_is_the_content():
    row = {"sample_id": "q", "category": "color", "references": ["Yes"]}
    assert content("mme", row | {"response": "The answer is yes"}) == (0.0, 0.0)
    assert content("mme", row | {"response": "No. Is it yes?"}) == (0.0, 0.0)
    gsm = {"sample_id": "q", "references": ["#### 7"], "question": "?"}
    assert content("gsm8k", gsm | {"response": "3 + 4 is 7\n#### 8"}) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "stated"), [("Yes, it is.", 1.0), ("There is no dog, yes.", 0.0), ("no yes", 0.0)]
)
def test_yes_and_no_begin_what_they_answer(said, stated):
    row = {"sample_id": "q", "references": ["yes"] * 10, "response": said, "answer_type": "yes/no"}
    assert content("vqav2", row) == (0.0, stated)


def test_a_lone_letter_may_be_any_word():
    row = {"sample_id": "q", "references": ["a"] * 10, "response": "it is a cat"}
    assert content("vqav2", row) == (0.0, 0.0)


def test_the_rule_is_asked_once_for_a_question_and_reference():
    class Counting(TextVQA):
        asked = 0

        def judge(self, row, profile):
            type(self).asked += 1
            return super().judge(row, profile)

    contents = Contents(Counting())
    row = THREE | {"response": "it is 3 I think"}
    for _ in range(5):
        assert contents.of(row, 0.0, "it is 3 i think", "official") == 1.0
    assert Counting.asked == 1


def test_several_answers_are_worth_their_mean():
    samples = [{"response": said} for said in ("3", "There are 3.", "5", "6")]
    assert content("textvqa", THREE | {"samples": samples}) == (0.25, 0.5)


def test_without_the_rule_content_is_the_score():
    assert Contents(None).of(THREE | {"response": "it is 3"}, 0.0, "it is 3", "official") == 0.0


@given(st.text(max_size=30), st.sampled_from(["3", "4", "three", "unanswerable", "x"]))
def test_content_is_never_below_the_score(around, reference):
    score, stated = content("textvqa", THREE | {"response": f"{around} {reference}"})
    assert 0 <= score <= stated <= 1


@pytest.mark.parametrize("name", [n for n in names("evals.benchmarks") if n != "humaneval"])
@settings(max_examples=20, deadline=None)
@given(text=ANY | DENSE)
def test_every_rule_has_a_content_of_any_text(name, text):
    judge = get_benchmark(name)
    for row in rows_of(name):
        for said in (text, f"{text} {judge.gold(row)} {text}"):
            asked = row | {"response": said}
            before = copy.deepcopy(asked)
            score, stated = content(name, asked)
            assert score <= stated <= 1
            assert asked == before
        assert content(name, row | {"response": judge.gold(row)})[1] == pytest.approx(
            judge.score(row | {"response": judge.gold(row)}).score
        )


def test_characters_of_scripts_without_spaces_are_words():
    assert words("这是停车标志 3个") == "这 是 停 车 标 志 3 个"


def test_the_page_tells_score_from_content(make_run):
    """Every answer of the last stage is right, with words around it that the rule does not take."""
    names = [f"report-{index:04d}-{half}" for index in range(12) for half in (0, 1)]
    wordy = {("dpo", "textvqa", n): f"It says no {int(n[7:11])}." for n in names}
    run = make_run(stages=("base", "sft", "dpo"), benchmarks=("textvqa",), answers=wordy)
    path = run / "evals" / "dpo" / "textvqa" / "scores.jsonl"
    rows = [json.loads(line) | {"score": 0.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = build_report(run)
    told = json.loads((page.parent / "data" / "textvqa" / "summary.json").read_text())
    assert (told["habits"]["dpo"]["accuracy"], told["habits"]["dpo"]["content"]) == (0.0, 1.0)
    moves = told["splits"]["dpo\nsft"]["moves"]
    before = told["habits"]["sft"]["accuracy"]
    assert moves["form"]["points"] == pytest.approx(-100.0)
    assert moves["sight"]["points"] == pytest.approx(100 * (1 - before))
    text = page.read_text()
    assert "are right answers that the rule does not take for the words around them" in text
    assert ">right in content</a></th>" in text
    index = script(page.parent / "data" / "textvqa" / "index.js")
    assert set(index["content"][2]) == {1.0}
    assert set(index["score"][2]) == {0.0}


def test_closed_questions_have_no_content_of_their_own(make_run):
    page = build_report(make_run(benchmarks=("mme",)))
    assert script(page.parent / "data" / "mme" / "index.js")["content"] is None
    text = page.read_text()
    assert ">right in content</a></th>" not in text
    assert "content rose" not in text
