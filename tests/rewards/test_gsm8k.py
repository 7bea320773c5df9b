"""GSM8K's two rules against the harness's verdicts, and what no text may do to them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.gsm8k import gsm8k_answer, gsm8k_is_right
from tests.rewards.golden import rows_of


def test_gsm8k_golden_rows():
    for row in rows_of("gsm8k"):
        for rule in ("strict", "flexible"):
            assert (gsm8k_answer(row["prediction"], rule) or "[invalid]") == row[rule], row


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("#### 70,000", True, True),
        ("#### $70000", False, True),
        ("#### 70000.", True, True),
        ("#### 7e4", False, False),
        ("no", False, False),
    ],
)
def test_gsm8k_exact_match(text, strict, flexible):
    reference = "So it is 70,000.\n#### 70,000"
    assert gsm8k_is_right(gsm8k_answer(text, "strict"), reference) is strict
    assert gsm8k_is_right(gsm8k_answer(text, "flexible"), reference) is flexible


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text(alphabet="0123.,-eE$# =isA\n"))
def test_no_text_raises(text):
    for rule in ("strict", "flexible"):
        gsm8k_is_right(gsm8k_answer(text, rule), text)


@pytest.mark.timeout(60)  # a quadratic rule takes hours
@pytest.mark.parametrize("text", ["1" * 10**6, "1." * 500_000, "-" * 10**6, "is " * 300_000])
def test_a_megabyte_takes_no_quadratic_time(text):
    gsm8k_is_right(gsm8k_answer(text, "flexible"), "#### 5")
