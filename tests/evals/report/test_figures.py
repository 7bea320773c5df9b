"""Numbers are written with the digits that their interval warrants."""

import math

import pytest

from evals.report.figures import (
    PERCENT,
    Scale,
    compact,
    count,
    decimals,
    duration,
    number,
    p_value,
    rate,
)
from evals.report.records import Primary


@pytest.mark.parametrize(
    ("interval", "places"),
    [((69.2, 73.0), 1), ((410.0, 455.0), 0), ((0.41, 0.44), 3), ((5.0, 5.0), 1), (None, 1)],
)
def test_two_digits_of_the_half_width_decide(interval, places):
    assert decimals(interval) == places


def test_shares_are_written_in_percent_and_totals_as_they_are():
    total = Scale.of(Primary(name="total", max=1000.0))
    assert PERCENT.value(0.7123, (0.69, 0.73)) == "71.2\u202f%"
    assert PERCENT.difference(-0.071, (-0.09, -0.052)) == "\u22127.1"
    assert PERCENT.interval((0.052, 0.09)) == "[5.2, 9.0]"
    assert total.interval((-0.123, 23.4)) == "[\u22120.1, 23.4]"  # the side of zero is kept
    assert total.interval((0.0, 23.4)) == "[0, 23]"
    assert total.value(712.34, (690.0, 730.0)) == "712"
    assert total.unit == "of 1\u202f000"


def test_zero_has_no_sign_and_nothing_is_a_dash():
    assert number(-0.0001, 1, sign=True) == "0.0"
    assert number(math.nan) == number(None) == PERCENT.value(None) == "–"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0002, "p<0.001"), (0.0123, "p=0.012"), (0.56, "p=0.56"), (None, "")]
)
def test_p_values(p, text):
    assert p_value(p) == text


def test_counts_durations_and_rates():
    assert count(2374) == "2\u202f374"
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
        "12\u202f346",
        "0.5",
        "0",
    ]
