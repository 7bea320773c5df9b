"""Answers that became right are told from those whose score rose in part."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.report import build_report
from evals.report.answers.answer import Answer, Question
from evals.report.answers.turned import Turned, all_of, as_lists, from_lists, turned
from tests.evals.report.conftest import MadeRun

SCORES = st.sampled_from([None, 0.0, 0.3, 0.6, 0.9, 1.0])


def question(category, *scores):
    answers = [
        None if score is None else Answer("a", score, "ok", "a", True, False, False, 1, None)
        for score in scores
    ]
    return Question("q", category, "", [], [], answers)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (0.0, 1.0, Turned(became=1)),
        (0.6, 1.0, Turned(became=1)),
        (0.0, 0.3, Turned(rose=1)),
        (1.0, 0.6, Turned(ceased=1)),
        (0.6, 0.0, Turned(fell=1)),
        (0.6, 0.6, Turned()),
        (1.0, 1.0, Turned()),
    ],
)
def test_each_question_is_one_kind(before, after, wanted):
    assert turned([question("a", before, after)], 1, 0) == {"a": wanted}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), SCORES, SCORES), max_size=30))
def test_the_kinds_add_up_to_rises_and_falls(rows):
    found = turned([question(*row) for row in rows], 1, 0)
    whole = all_of(found)
    both = [(b, a) for _, b, a in rows if b is not None and a is not None]
    assert whole.won == sum(a > b for b, a in both)
    assert whole.lost == sum(a < b for b, a in both)
    assert whole.became == sum(b < 1 <= a for b, a in both)
    assert from_lists(json.loads(json.dumps(as_lists(found)))) == found


def test_words_name_what_happened_in_part_only_where_it_did():
    assert Turned(became=26, ceased=9).in_words == "26 became right, 9 no longer right"
    assert Turned(3, 2, 1, 4).in_words == (
        "3 became right, 2 rose in part, 1 no longer right, 4 fell in part"
    )


def test_the_page_counts_them_apart_where_answers_are_graded(make_run, tmp_path):
    run = make_run(benchmarks=("textvqa",))
    path = run / "evals" / "grpo" / "textvqa" / "scores.jsonl"
    before = (run / "evals" / "dpo" / "textvqa" / "scores.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = [n for n, line in enumerate(before) if json.loads(line)["score"] == 0.0]
    wrong = [n for n in wrong if rows[n]["part"] == "report"]
    assert len(wrong) >= 2
    for number in wrong:
        rows[number]["score"] = 0.6
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = build_report(run).read_text()
    assert f'data-stage="grpo" data-kind="rose">{len(wrong)}</a>' in text
    assert 'data-stage="grpo" data-kind="became"' not in text
    assert "rose in part</a></th>" in text
    right_or_wrong = MadeRun(tmp_path / "other", benchmarks=("mme",)).write()
    plain = build_report(right_or_wrong).read_text()
    assert "rose in part</a></th>" not in plain
