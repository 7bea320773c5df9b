"""Numbers are written with one number of decimals, so that what stands side by side agrees."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.report.display.figures import (
    PERCENT,
    Scale,
    compact,
    count,
    duration,
    number,
    p_value,
    rate,
)
from evals.report.records import Primary


def test_shares_are_written_in_percent_and_totals_as_they_are():
    total = Scale.of(Primary(name="total", max=1000.0))
    assert PERCENT.value(0.7123) == "71.2\u202f%"
    assert PERCENT.difference(-0.071) == "\u22127.1"
    assert PERCENT.interval((0.052, 0.09)) == "[5.2, 9.0]"
    assert total.interval((-0.023, 23.4)) == "[\u22120.02, 23.40]"  # the side of zero is kept
    assert total.interval((0.0, 23.4)) == "[0.0, 23.4]"
    assert total.value(712.34) == "712.3"
    assert total.unit == "of 1,000"
    assert Scale.of(Primary(name="score", max=10.0)).value(6.428) == "6.43"


@pytest.mark.parametrize("factor", [1, 8])
@given(before=st.floats(0, 1), after=st.floats(0, 1))
def test_a_shown_difference_is_that_of_the_shown_scores_but_for_the_last_digit(
    factor, before, after
):
    scale = PERCENT if factor == 1 else Scale.of(Primary(name="total", max=800.0))
    before, after = factor * 100 * before / scale.factor, factor * 100 * after / scale.factor
    told = [read(text) for text in (scale.value(before), scale.value(after))]
    assert abs(told[1] - told[0] - read(scale.difference(after - before))) < 0.1001


def read(text: str) -> float:
    return float(text.removesuffix("\u202f%").replace("\u202f", "").replace("\u2212", "-"))


def test_halves_go_away_from_zero_whatever_dust_a_sum_left():
    assert number(78.95) == number(78.94999999999996) == "79.0"
    assert number(-0.35) == number(100 * (0.786 - 0.7895)) == "\u22120.4"
    assert number(0.0) == "0.0"


def test_zero_has_no_sign_and_nothing_is_a_dash():
    assert number(-0.0001, 1, sign=True) == "0.0"
    assert number(math.nan) == number(None) == PERCENT.value(None) == "–"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0002, "p<0.001"), (0.0123, "p=0.012"), (0.56, "p=0.56"), (None, "")]
)
def test_p_values(p, text):
    assert p_value(p) == text


def test_counts_durations_and_rates():
    assert count(2374) == "2,374"
    assert count(1_234_567) == "1.23\u202fM"
    assert [duration(s) for s in (4.2, 75, 120, 3720, None)] == [
        "4.2 s",
        "1 min 15 s",
        "2 min",
        "1 h 2 min",
        "–",
    ]
    assert (rate(2000, 41), rate(None, 3), rate(5, 0)) == ("48.8", "–", "–")
    assert [compact(v) for v in (0.000052, 12345.6, 0.5, 0.0)] == [
        "5.2e\u221205",
        "12,346",
        "0.5",
        "0",
    ]
