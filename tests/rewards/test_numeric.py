"""Which number is read out of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.numeric import last_number


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


@given(st.text())
def test_a_number_is_read_only_where_there_is_a_digit(text):
    number = last_number(text)
    assert number is None or any(sign.isdigit() for sign in text)
