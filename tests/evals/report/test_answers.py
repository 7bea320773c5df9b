"""Which answers the page holds, and what a difference is split into."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.report import moves
from evals.report.answers import Answer, Question, read_answers
from evals.report.browser import slug
from evals.report.moves import habits, in_words, split
from evals.report.run import read_run


def answer(score, *, text="yes", parsed="yes", cut=False, refused=False, status="ok"):
    is_parsed = parsed not in (None, "other")
    return Answer(text, score, status, parsed, is_parsed, cut, refused, 3, None)


def asked(*answers, wanted="Yes"):
    return Question("q", "color", "?", [wanted], [], list(answers))


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


def test_a_difference_is_split_by_what_happened_to_each_answer():
    unread, cut = answer(0.0, parsed=None), answer(0.0, parsed=None, cut=True)
    no, yes = answer(0.0, text="no", parsed="no"), answer(1.0)
    sorry = answer(0.0, parsed=None, refused=True)
    questions = [asked(*pair) for pair in ((unread, yes), (cut, yes), (yes, sorry), (no, yes))]
    told = split(questions, 1, 0)
    assert {kind: move.points for kind, move in told.moves.items()} == {
        "readable": 25.0,
        "cut": 25.0,
        "refused": -25.0,
        "worded": 0.0,
        "sight": 25.0,
    }
    assert (told.total, told.form, told.sight, told.what) == (50.0, 25.0, 25.0, "both")
    assert moves.from_dict(moves.as_dict(told)) == told


@given(
    st.lists(
        st.tuples(
            *[st.sampled_from([0.0, 0.3, 1.0, None]), st.booleans(), st.booleans(), st.booleans()]
            * 2
        ),
        min_size=1,
    )
)
def test_the_moves_add_up_to_the_difference(drawn):
    questions = [
        asked(
            answer(a[0], parsed="yes" if a[1] else None, cut=a[2], refused=a[3]),
            answer(a[4], parsed="yes" if a[5] else None, cut=a[6], refused=a[7]),
        )
        for a in drawn
    ]
    told = split(questions, 1, 0)
    scored = [(a[0], a[4]) for a in drawn if a[0] is not None and a[4] is not None]
    if not scored:
        assert told is None
        return
    wanted = 100 * sum(new - old for old, new in scored) / len(scored)
    assert told.form + told.sight == pytest.approx(wanted, abs=1e-9)
    assert sum(move.questions for move in told.moves.values()) == told.n == len(scored)


def test_the_sentence_tells_form_from_sight():
    unread, no, yes = answer(0.0, parsed=None), answer(0.0, text="no", parsed="no"), answer(1.0)
    form = in_words(split([asked(unread, yes)] * 80 + [asked(unread, no)] * 20, 1, 0), 0.5)
    assert form.startswith("form: +80.0 points")
    assert form.endswith("more than form")
    guess = in_words(split([asked(unread, yes)] * 51 + [asked(unread, no)] * 49, 1, 0), 0.5)
    assert guess.endswith("form alone explains it")
    sight = in_words(split([asked(no, yes)] * 9 + [asked(unread, yes)], 1, 0), 0.5)
    assert sight.startswith("sight: +90.0 points come from other answers, +10.0 from their form")
    assert in_words(split([asked(yes, yes)], 1, 0), 0.5).startswith("accuracy moved neither")


def test_words_around_the_same_answer_are_form():
    wordy = answer(0.0, text="The sign says: Stop!", parsed="the sign says: stop!")
    bare, other = answer(1.0, text="stop"), answer(0.0, text="stopped", parsed="stopped")
    told = split([asked(wordy, bare), asked(other, bare), asked(bare, bare)], 1, 0)
    assert [told.moves[kind].questions for kind in ("worded", "sight")] == [1, 2]
    assert told.form == pytest.approx(100 / 3)
    assert told.sight == pytest.approx(100 / 3)


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
    told = moves.habits_in_words(before, after)
    assert told == (
        "yes 58.8\u202f% → 52.8\u202f% (wanted 50.0\u202f%), refusals 0.0\u202f% → 20.0\u202f%, "
        "length 2.0 → 9.0 tokens"
    )
    assert moves.habits_in_words(before, before) == ""
    lean = {"letter": "B", "letter_excess": 0.21}
    assert moves.habits_in_words({}, lean) == "leans to B, +21.0 points beyond its share"


@settings(deadline=None)
@given(st.text())
def test_a_folders_name_is_plain_and_a_benchmarks_own(name):
    assert slug(name).strip("abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
    assert slug(name)
    assert slug(name) == name or slug(name) != slug(name + "x")
