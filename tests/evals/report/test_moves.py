"""What a difference is split into: answered, form, sight."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.report.answers.moves import KINDS, as_dict, from_dict, in_words, split
from tests.evals.report.made import answer, asked

WORDY = answer(0.0, text="There are 3 shapes.", parsed="there are 3 shapes", content=1.0)
BARE = answer(1.0, text="3", parsed="3")
OTHER = answer(0.0, text="4", parsed="4")
UNREAD, NO, YES = answer(0.0, parsed=None), answer(0.0, text="no", parsed="no"), answer(1.0)

answers = st.builds(
    lambda score, more, parsed, cut, refused: answer(
        score,
        parsed=parsed,
        cut=cut,
        refused=refused,
        content=None if score is None else max(score, more),
    ),
    st.sampled_from([0.0, 0.3, 0.9, 1.0, None]),
    st.sampled_from([0.0, 0.6, 1.0]),
    st.sampled_from(["yes", "no", None]),
    st.booleans(),
    st.booleans(),
)


def test_a_difference_is_split_by_what_happened_to_each_answer():
    cut = answer(0.0, text="well", parsed="well", cut=True)
    sorry = answer(0.0, parsed=None, refused=True)
    pairs = ((UNREAD, YES), (cut, YES), (YES, sorry), (NO, YES), (WORDY, BARE))
    told = split([asked(*pair) for pair in pairs], 1, 0)
    assert {kind: (move.questions, move.points) for kind, move in told.moves.items()} == {
        "form": (1, 20.0),
        "refused": (1, -20.0),
        "unreadable": (1, 20.0),
        "cut": (1, 20.0),
        "sight": (1, 20.0),
    }
    assert (told.total, told.form, told.answered, told.sight) == (60.0, 20.0, 20.0, 20.0)
    assert (told.newly.questions, told.newly.right, told.ceased.questions) == (2, 1.0, 1)
    assert from_dict(json.loads(json.dumps(as_dict(told)))) == told


def test_an_answer_that_is_cut_off_and_unreadable_is_called_cut_off():
    """As its card among the examples calls it: the first of refused, cut off, unreadable."""
    both = answer(0.0, text="well", parsed=None, cut=True)
    told = split([asked(both, YES)], 1, 0)
    assert (told.moves["cut"].questions, told.moves["unreadable"].questions) == (1, 0)


def test_a_right_answer_that_is_lost_under_its_words_is_lost_to_sight_too():
    """Both score 0 where "There are 3 shapes." becomes "4": form and sight cancel out."""
    told = split([asked(WORDY, OTHER, wanted="3")], 1, 0)
    assert (told.total, told.form, told.sight) == (0.0, 100.0, -100.0)
    assert split([asked(OTHER, WORDY, wanted="3")], 1, 0).sight == 100.0


@given(st.lists(st.tuples(answers, answers), min_size=1))
def test_the_parts_add_up_and_change_their_sign_with_the_stages(drawn):
    questions = [asked(*pair) for pair in drawn]
    told, back = split(questions, 1, 0), split(questions, 0, 1)
    scored = [(a.score, b.score) for a, b in drawn if a.score is not None and b.score is not None]
    if not scored:
        assert told is None
        assert back is None
        return
    wanted = 100 * sum(new - old for old, new in scored) / len(scored)
    assert told.form + told.answered + told.sight == pytest.approx(wanted, abs=1e-9)
    assert told.total == pytest.approx(wanted, abs=1e-9)
    assert [told.moves[kind].points for kind in KINDS] == [
        -back.moves[kind].points for kind in KINDS
    ]
    assert [told.moves[kind].questions for kind in KINDS] == [
        back.moves[kind].questions for kind in KINDS
    ]
    assert (told.newly, told.ceased) == (back.ceased, back.newly)
    assert told.content == back.content[::-1]


def test_the_sentence_tells_what_was_newly_answered_from_guessing():
    more = in_words(split([asked(UNREAD, YES)] * 80 + [asked(UNREAD, NO)] * 20, 1, 0), 0.5)
    assert more.startswith(
        "answered: +80.0 points come from 100 questions that its parent did not answer "
        "(100 unreadable)"
    )
    assert more.endswith("50.0\u202f%, clearly less")
    guess = in_words(split([asked(UNREAD, YES)] * 51 + [asked(UNREAD, NO)] * 49, 1, 0), 0.5)
    assert guess.endswith("not clearly less")
    ceased = in_words(split([asked(YES, UNREAD)], 1, 0), 0.5)
    assert "1 question that it does not answer (1 unreadable)" in ceased


def test_the_sentence_says_that_form_is_no_sight():
    questions = [asked(WORDY, BARE)] * 20 + [asked(WORDY, OTHER)] + [asked(BARE, BARE)] * 79
    told = split(questions, 1, 0)
    assert in_words(told, 0.1) == (
        "form: +21.0 points are right answers that lost the words around them, −1.0 come from "
        "other answers; no evidence that it sees better: right in content 100.0\u202f% → "
        "99.0\u202f% (−1.0)"
    )
    level = in_words(replace(told, interval=(-0.02, 0.01)), 0.1)
    assert "no evidence that it sees better: right in content" in level
    assert level.endswith("(−1.0 [−2.0, 1.0])")
    better = replace(told, content=(0.4, 0.5), interval=(0.05, 0.15))
    assert "; it sees better: right in content 40.0\u202f% → 50.0\u202f%" in in_words(better, 0.1)
    unsure = replace(told, content=(0.4, 0.41), interval=(-0.05, 0.07))
    assert "; no evidence that it sees better: " in in_words(unsure, 0.1)
    back = in_words(split([asked(BARE, WORDY)], 1, 0), 0.1)
    assert "−100.0 points are right answers that the rule does not take" in back


def test_the_sentence_tells_sight():
    sight = in_words(split([asked(NO, YES)] * 9 + [asked(UNREAD, YES)], 1, 0), 0.5)
    assert sight.startswith("sight: +90.0 points come from other answers, +10.0 come from 1 ques")
    assert in_words(split([asked(YES, YES)], 1, 0), 0.5).startswith("accuracy moved neither")


def test_a_change_between_yes_and_no_alone_is_no_sight():
    yes, no = (lambda s: answer(s, text="yes")), (lambda s: answer(s, text="no", parsed="no"))
    to_no = [asked(yes(0.0), no(1.0), wanted="No")] * 20 + [asked(yes(1.0), no(0.0))] * 10
    told = split(to_no + [asked(yes(1.0), yes(1.0))] * 70, 1, 0)
    assert (told.what, told.seen, told.sight) == ("shift of yes", "shift of yes", 10.0)
    assert in_words(told, 0.8) == (
        "shift of yes: +10.0 points come from a shift of yes, not sight; it says yes on "
        "70.0\u202f%, before on 100.0\u202f%; all 30 answers that changed went from yes to no, 20 "
        "became right, 10 no longer are; always answering Yes: 80.0\u202f%"
    )
    both = to_no + [asked(no(0.0), yes(1.0))] * 20
    assert split(both, 1, 0).seen == "sight"
