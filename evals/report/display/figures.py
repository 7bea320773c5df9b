"""How numbers are written: the same number of decimals for all scores and differences of a
benchmark, halves rounded away from zero, commas between thousands, a true minus sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

Interval = tuple[float, float]
NONE = "–"
MINUS = "\u2212"


def number(value: float | None, places: int = 1, *, sign: bool = False) -> str:
    """A decimal number with commas between thousands, halves rounded away from zero; `sign` writes
    the plus too. None and NaN become a dash.

    >>> number(-3.14159, 2), number(7.14, 1, sign=True), number(1234.5), number(None)
    ('−3.14', '+7.1', '1,234.5', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    # Rounding errors of sums must not decide a half: 78.95 and 78.9499999 are one figure.
    text = f"{abs(value) + 1e-9:,.{places}f}"
    is_zero = not any(digit in text for digit in "123456789")
    if is_zero:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


class Statistic(Protocol):
    """A benchmark's statistic, as far as its scale depends on it."""

    @property
    def max(self) -> float: ...

    @property
    def unit(self) -> str: ...


@dataclass(frozen=True)
class Scale:
    """How a benchmark's statistic is written: shares (maximum 1) in percent, others as they are.
    Scores, differences and intervals have the same decimals, so that a difference on the page is
    the one of the scores beside it, but for its last digit.

    >>> PERCENT.value(0.222), PERCENT.difference(0.056), PERCENT.interval((0.045, 0.066))
    ('22.2\\u202f%', '+5.6', '[4.5, 6.6]')
    """

    factor: float
    suffix: str
    unit: str
    max: float

    @classmethod
    def of(cls, primary: Statistic) -> Scale:
        if primary.max == 1:
            return PERCENT
        if primary.unit == "%":
            return cls(1.0, "\u202f%", "points", primary.max)
        return cls(1.0, "", primary.unit or f"of {number(primary.max, 0)}", primary.max)

    @property
    def places(self) -> int:
        """Decimals: one where the maximum is 20 or more, as percent have."""
        return 1 if self.factor * self.max >= 20 else 2

    def value(self, value: float | None) -> str:
        if value is None:
            return NONE
        return number(value * self.factor, self.places) + self.suffix

    def difference(self, value: float | None) -> str:
        """Signed, in points, without the unit."""
        return NONE if value is None else number(value * self.factor, self.places, sign=True)

    def interval(self, interval: Interval | None) -> str:
        """`[69.2, 73.0]`."""
        if interval is None:
            return ""
        ends = [end * self.factor for end in interval]
        places = self.places
        # An end close to zero keeps its sign: [−0.04, 2.30], not [0.0, 2.3].
        while places < 3 and any(end and not round(end, places) for end in ends):
            places += 1
        return f"[{number(ends[0], places)}, {number(ends[1], places)}]"


PERCENT = Scale(100.0, "\u202f%", "points", 1.0)


def p_value(p: float | None) -> str:
    """`p<0.001`, else two significant digits at most three decimals.

    >>> p_value(0.0002), p_value(0.0123), p_value(0.56)
    ('p<0.001', 'p=0.012', 'p=0.56')
    """
    if p is None:
        return ""
    if p < 0.001:
        return "p<0.001"
    return f"p={p:.3f}" if p < 0.1 else f"p={p:.2f}"


def share(value: float | None, places: int = 1) -> str:
    return NONE if value is None else number(100 * value, places) + "\u202f%"


def count(value: float | None) -> str:
    """A whole number with commas between thousands; millions and more are shortened.

    >>> count(2374), count(1_234_567)
    ('2,374', '1.23\\u202fM')
    """
    if value is None:
        return NONE
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.2f}\u202f{unit}"
    return number(float(round(value)), 0)


def duration(seconds: float | None) -> str:
    """
    >>> duration(4.2), duration(75), duration(3720), duration(None)
    ('4.2 s', '1 min 15 s', '1 h 2 min', '–')
    """
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def rate(amount: float | None, seconds: float | None) -> str:
    """Amount per second, three significant digits."""
    if not amount or not seconds:
        return NONE
    value = amount / seconds
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def compact(value: float | None) -> str:
    """Any metric in few characters: for axes and last values.

    >>> compact(0.000052), compact(12345.6), compact(0.5)
    ('5.2e−05', '12,346', '0.5')
    """
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.3g}".replace("-", MINUS)
    places = 0 if size >= 1000 else max(0, 2 - math.floor(math.log10(size))) if size else 0
    text = number(value, places)
    return text.rstrip("0").rstrip(".") if "." in text else text
