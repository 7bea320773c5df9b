"""The shared text rules: golden cases from the official programs, and properties on any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards.text
from rewards.text import (
    evalai_answer,
    vlmevalkit_answer,
    vqa_soft_accuracy,
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
    assert evalai_answer(text) == evalai_answer(text)
    vlmevalkit_answer(text)
