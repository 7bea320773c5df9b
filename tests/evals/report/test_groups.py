"""Shares right and turned answers by category."""

import json

import numpy as np
import pytest

from evals.report.answers import groups
from evals.report.answers.skills import Floor, in_words, skills_of
from evals.scoring.stats import cluster_rows, paired_bootstrap
from tests.evals.report.made import answer, asked

WORDY = answer(0.0, text="it is 3", parsed="it is 3", content=1.0)
RIGHT, WRONG = answer(1.0, text="3", parsed="3"), answer(0.0, text="4", parsed="4")


def many(n, *answers, category="many", wanted="3"):
    return [
        asked(*answers, category=category, wanted=wanted, cluster=f"{category}{i // 2}")
        for i in range(n)
    ]


def test_a_category_is_judged_by_what_it_states_not_by_form():
    questions = (
        many(20, WORDY, WRONG) + many(80, WORDY, RIGHT) + many(9, WRONG, RIGHT, category="b")
    )
    told = groups.tallies(questions, 1, 0)
    assert (told["many"].score, told["many"].content) == ((0.0, 0.8), (1.0, 0.8))
    assert (told["many"].won, told["many"].lost) == (0, 20)
    assert groups.tallies_from(json.loads(json.dumps(groups.as_dicts(told)))) == told
    found = skills_of(told, {}, {})
    assert {skill.category: skill.verdict for skill in found} == {"many": "worse", "b": "better"}
    assert in_words(found) == [
        "score, by form: many 0.0\u202f% → 80.0\u202f%",
        "in content: better on b (+100.0 points, 9 became right, 0 no longer right)",
        "worse on many (right in content 100.0\u202f% → 80.0\u202f%, while the score rose "
        "0.0\u202f% → 80.0\u202f%)",
    ]


def test_the_largest_gain_by_form_comes_first_and_is_no_skill():
    """A kind whose score rose by form alone is named, one whose content rose as much is not."""
    questions = (
        many(50, WORDY, RIGHT, category="shape")
        + many(50, WRONG, RIGHT, category="color")
        + many(20, WORDY, RIGHT, category="count")
        + many(30, WORDY, WORDY, category="count")
    )
    told = in_words(skills_of(groups.tallies(questions, 1, 0), {}, {}))
    assert told[0] == (
        "score, by form: shape 0.0\u202f% → 100.0\u202f%, count 0.0\u202f% → 40.0\u202f%"
    )
    assert told[1].startswith("in content: better on color")
    assert len(told) == 2


def test_right_is_said_of_content_where_the_score_is_another():
    """A list holds no share right that is another figure than the categories show."""
    floor = {"many": Floor("3", 1.0)}
    apart = many(40, WRONG, WORDY) + many(60, WRONG, WRONG)
    (told,) = in_words(skills_of(groups.tallies(apart, 1, 0), floor, {}))
    assert "many (right in content 0.0\u202f% → 40.0\u202f%, always answering 3:" in told


def test_a_category_below_one_answer_always_is_no_skill_gained():
    questions = many(40, WRONG, RIGHT) + many(60, WRONG, WRONG)
    floors = {name: Floor(*told) for name, told in groups.baselines(questions).items()}
    assert floors == {"many": Floor("3", 1.0)}
    (skill,) = skills_of(groups.tallies(questions, 1, 0), floors, {})
    assert skill.verdict == "not above"
    assert in_words([skill]) == [
        "risen, but not clearly above always giving one answer, on many (right 0.0\u202f% → "
        "40.0\u202f%, always answering 3: 100.0\u202f%)"
    ]
    low = {"many": Floor("3", 0.35)}
    tallies = groups.tallies(questions, 1, 0)
    assert skills_of(tallies, low, {"many": (0.3, 0.5)})[0].verdict == "not above"
    assert skills_of(tallies, low, {"many": (0.36, 0.5)})[0].verdict == "better"
    (below,) = skills_of(tallies, {"many": Floor("3", 0.6)}, {"many": (0.3, 0.5)})
    assert below.verdict == "below"
    assert in_words([below])[0].startswith("risen, and still below always giving one answer, on")


def test_a_shift_of_yes_is_no_skill():
    yes, no = answer(0.0), answer(1.0, text="no", parsed="no")
    turned = many(15, yes, no, wanted="No") + many(14, answer(1.0), answer(0.0, parsed="no"))
    questions = [*turned, *many(20, answer(1.0), answer(1.0), wanted="Yes")]
    for question in questions[15:29]:
        question.references = ["Yes"]
    (skill,) = skills_of(groups.tallies(questions, 1, 0), {}, {})
    assert skill.verdict == "shift"
    assert in_words([skill]) == [
        "on many a shift of yes: it says yes on 40.8\u202f%, before on 100.0\u202f%; all 29 "
        "answers that changed went from yes to no, 15 became right, 14 no longer are; right "
        "69.4\u202f% → 71.4\u202f%, always answering Yes 69.4\u202f%"
    ]


def test_shares_are_those_of_every_stage_with_intervals_over_images():
    questions = many(60, WORDY, RIGHT) + many(40, WRONG, WORDY, category="b")
    first, second = groups.shares(questions, 2)
    assert (first["many"].n, first["many"].accuracy, first["many"].content) == (60, 0.0, 1.0)
    assert (second["b"].accuracy, second["b"].content) == (0.0, 1.0)
    assert first["many"].interval == (0.0, 0.0)
    assert groups.shares_from(json.loads(json.dumps(groups.as_dicts(first)))) == first
    assert groups.shares([], 1) == [{}]


def test_the_interval_of_content_is_the_paired_bootstraps():
    rng = np.random.default_rng(0)
    drawn = rng.random((200, 2)) < (0.5, 0.6)
    questions = [
        asked(*(WORDY if right else WRONG for right in pair), cluster=str(i // 2))
        for i, pair in enumerate(drawn)
    ]
    ((low, high),) = groups.content_intervals(questions, [(1, 0)]).values()
    ours, theirs = (
        cluster_rows([q.cluster for q in questions], np.stack([drawn[:, s], np.ones(200)], 1))[1]
        for s in (1, 0)
    )
    mean = lambda totals: (totals[..., 0] / totals[..., 1])[..., None]  # noqa: E731
    (wanted,) = paired_bootstrap(ours, theirs, mean, resamples=2_000)
    assert (low, high) == pytest.approx((wanted.low, wanted.high))
    assert groups.content_intervals(questions, []) == {}


def test_the_commonest_answer_of_a_tie_is_yes():
    questions = many(2, RIGHT, category="a", wanted="No") + many(
        2, RIGHT, category="a", wanted="Yes"
    )
    assert groups.baselines(questions) == {"a": ("Yes", 0.5)}
