"""How a stage answers: what it says, how often, and what it never says."""

from dataclasses import asdict

from evals.report.answers.habits import habits, in_words, never_in_words
from tests.evals.report.made import answer, asked


def shape(said, wanted, category="shape"):
    return asked(
        answer(float(said == wanted), text=said, parsed=said), wanted=wanted, category=category
    )


def test_habits_count_what_is_said_whatever_is_right():
    lean = [asked(answer(0.0, parsed="A"), wanted=letter) for letter in "ABCD"]
    told = habits(lean, 0)
    assert (told.letter, told.letter_excess, told.yes) == ("A", 0.75, None)
    polar = [asked(answer(1.0), wanted="Yes"), asked(answer(0.0), wanted="No")]
    told = habits(polar, 0)
    assert (told.yes, told.yes_wanted, told.letter, told.read_accuracy) == (1.0, 0.5, None, 0.5)
    assert habits([asked(None)], 0) is None


def test_a_lean_that_changed_is_spoken_of():
    before = {"yes": 0.588, "yes_wanted": 0.5, "refused": 0.0, "mean_tokens": 2.0}
    after = {"yes": 0.528, "yes_wanted": 0.5, "refused": 0.2, "mean_tokens": 9.0}
    told = in_words(before, after)
    assert told == (
        "yes 58.8\u202f% → 52.8\u202f% (wanted 50.0\u202f%), refusals 0.0\u202f% → 20.0\u202f%, "
        "length 2.0 → 9.0 tokens"
    )
    assert in_words(before, before) == ""
    lean = {"letter": "B", "letter_excess": 0.21}
    assert in_words({}, lean) == "leans to B, +21.0 points beyond its share"


def test_answers_that_are_wanted_and_never_given_are_told():
    before = [shape("It is a square.", "square")] * 20 + [shape("circle", "circle")] * 60
    before += [shape("key", "circle")] * 20
    after = [shape("circle", q.wanted) for q in before]
    old, new = asdict(habits(before, 0)), asdict(habits(after, 0))
    assert (old["distinct"], old["never"]) == (3, [])
    assert old["common"] == [("circle", 0.6), ("it is a square", 0.2), ("key", 0.2)]
    assert (new["distinct"], new["never"]) == (1, [("square", "", 0.2)])
    assert in_words(old, new) == (
        "it no longer answers square (wanted on 20.0\u202f%), key (20.0\u202f% of the answers "
        "before)"
    )
    assert in_words(new, new) == ""


def test_an_answer_may_be_missing_on_one_kind_of_question():
    asked_for = [("many", "3", "1")] * 10 + [("many", "1", "1")] * 10 + [("digit", "3", "3")] * 20
    questions = [shape(said, wanted, category) for category, wanted, said in asked_for]
    (missing,) = habits(questions, 0).never
    assert missing == ("3", "many", 0.25)
    assert never_in_words([missing, ("x", "", 0.1)]) == (
        "3 to many (wanted on 25.0\u202f%), x (10.0\u202f%)"
    )


def test_what_few_questions_want_is_not_missed():
    questions = [shape("circle", "circle")] * 98 + [shape("circle", "key")] * 2
    assert habits(questions, 0).never == []
