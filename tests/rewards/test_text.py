"""The shared text rules: golden cases from the official programs, and properties on any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards.text
from rewards.text import (
    choice_letter,
    evalai_answer,
    last_number,
    vlmevalkit_answer,
    vqa_soft_accuracy,
    yes_no_lmms_eval,
    yes_no_official,
    yes_no_vlmevalkit,
)


@pytest.mark.parametrize(
    ("text", "processed"),
    [
        ("somebody'd", "somebodyd"),
        ("Ive", "ive"),  # entries with capitals never match after lower-casing
        ("3.", "3"),
        (".5 and 1.2", ".5 and 1.2"),
        ("." * 40, "." * 8),  # only the first 32 periods go
        ("mcdonald's", "mcdonald 's"),
        ("a - b-c", "bc"),  # the mark stands next to a space, so each one is deleted
        ("hello,world", "helloworld"),
        ("“quoted” 50% $5 #1 a&b 12:30", "“quoted” 50% $5 #1 a&b 12:30"),
    ],
)
def test_evalai_oddities(text, processed):
    assert evalai_answer(text) == processed


def test_vlmevalkit_keeps_what_evalai_drops():
    assert vlmevalkit_answer("mcdonald's") == "mcdonald's"
    assert vlmevalkit_answer("hello,world") == "hello world"
    assert vlmevalkit_answer("3.") == "3."


@pytest.mark.parametrize(
    ("agreeing", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)]
)
def test_soft_accuracy_by_agreeing_people(agreeing, score):
    references = ["cat"] * agreeing + [f"other{i}" for i in range(10 - agreeing)]
    assert vqa_soft_accuracy("Cat.", references) == pytest.approx(score)


def test_contraction_table_is_whole():
    assert len(rewards.text._CONTRACTIONS) == 120
    assert evalai_answer("yall couldnt've oclock") == "y'all couldn't've o'clock"


@given(st.text())
def test_rules_take_any_text(text):
    references = [text, "cat", "", *["x"] * 7]
    before = list(references)
    assert 0.0 <= vqa_soft_accuracy(text, references) <= 1.0
    assert references == before
    for read in (yes_no_official, yes_no_lmms_eval, yes_no_vlmevalkit):
        assert read(text) in ("yes", "no", "other")
    letter = choice_letter(text)
    assert letter is None or letter in text
    number = last_number(text)
    assert number is None or any(sign.isdigit() for sign in text)
    assert evalai_answer(text) == evalai_answer(text)
    vlmevalkit_answer(text)


@given(st.text(), st.text())
def test_yes_no_official_reads_four_characters(head, tail):
    text = (head + "zzzz")[:4].lower()
    if len(text) == 4 and len((text + tail).lower()[:4]) == 4:
        assert yes_no_official(text + "z" + tail) == yes_no_official(text + "z")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"), ("(B)", "B"), ("C.", "C"), ("D) a dog", "D"), ("The answer is (A).", "A"),
        ("Answer: B because A is wrong", "B"), ("answer A or option B", None), ("I think so", None),
        ("", None), ("A.M. is early", None), ("a", None), ("The answer is Apple", None),
    ],
)  # fmt: skip
def test_choice_letter_never_guesses(text, letter):
    assert choice_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,250.5", 1250.5),
        ("-3", -3.0),
        ("12%", 0.12),
        ("no", None),
        ("1e3 m", 1000.0),
        ("3.", 3.0),
        (".5", 0.5),
        ("0E0E0", 0.0),
        ("3E", 3.0),
    ],
)
def test_last_number(text, number):
    assert last_number(text) == number
