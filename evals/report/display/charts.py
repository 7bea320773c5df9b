"""Inline SVG: curves, intervals, bars. Drawings hold no text: words are in the HTML around them,
where they can wrap and be selected.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from markupsafe import Markup

from evals.report.display.figures import MINUS, Interval, compact

MAX_POINTS = 240


ENDS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
STEPS = (1, 2, 5, 10)


def round_up(value: float, digits: tuple[float, ...] = ENDS) -> float:
    """The next of `digits` times a power of ten; 1 where the value is no size.

    >>> round_up(23.4), round_up(0.0352), round_up(589.0), round_up(6.0, STEPS), round_up(0.0)
    (25.0, 0.04, 600.0, 10.0, 1.0)
    """
    if not 0 < value < math.inf:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    digit = next((digit for digit in digits if digit * size >= value * (1 - 1e-9)), 10)
    return float(f"{digit * size:.6g}")


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`, drawn over 0 to 100 %."""

    low: float
    high: float

    @classmethod
    def around(
        cls, values: list[float], *, floor: float | None = None, top: float | None = None
    ) -> Axis:
        """An axis whose ends are round numbers, kept within `floor` and `top`.

        >>> Axis.around([71.6, 73.2]), Axis.around([0.0, 598.0, 400.0], floor=0.0, top=800.0)
        (Axis(low=71.5, high=73.5), Axis(low=0.0, high=600.0))
        """
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low == high and floor is not None and top is not None:
            return cls(floor, top)
        room = (abs(high) * 0.05 or 0.5) if low == high else 0.0
        step = round_up((high - low + 2 * room) / 5, STEPS)
        low = round(math.floor((low - room) / step + 1e-9) * step, 12)
        high = round(math.ceil((high + room) / step - 1e-9) * step, 12)
        low = low if floor is None else max(floor, low)
        high = high if top is None else min(top, high)
        return cls(low, high) if high > low else cls(low, low + 1)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


def whisker(axis: Axis, value: float, interval: Interval | None, baseline: float | None) -> Markup:
    """A dot with its interval on an axis; a tick where the baseline is."""
    parts = ['<line class="rule" x1="0" x2="100%" y1="7" y2="7"/>']
    if baseline is not None and axis.low <= baseline <= axis.high:
        x = axis.at(baseline)
        parts.append(f'<line class="base" x1="{x}%" x2="{x}%" y1="1" y2="13"/>')
    if interval is not None:
        low, high = axis.at(interval[0]), axis.at(interval[1])
        parts.append(f'<line class="ci" x1="{low}%" x2="{high}%" y1="7" y2="7"/>')
    parts.append(f'<circle class="dot" cx="{axis.at(value)}%" cy="7" r="3.5"/>')
    return _svg("whisker", 14, parts)


def bar(value: float | None, interval: Interval | None) -> Markup:
    """A share as a bar from 0 to 100 %, with its interval as a whisker."""
    axis = Axis(0.0, 1.0)
    parts = ['<rect class="track" x="0" y="2" width="100%" height="10" rx="2"/>']
    if value is not None:
        parts.append(
            f'<rect class="fill" x="0" y="2" width="{axis.at(value)}%" height="10" rx="2"/>'
        )
    if interval is not None:
        low, high = axis.at(interval[0]), axis.at(interval[1])
        parts.append(f'<line class="ci" x1="{low}%" x2="{high}%" y1="7" y2="7"/>')
        parts += [f'<line class="ci" x1="{x}%" x2="{x}%" y1="4" y2="10"/>' for x in (low, high)]
    return _svg("bar", 14, parts)


def diverging(lost: int, won: int, largest: int) -> Markup:
    """Lost questions to the left of the middle, won ones to the right."""
    left, right = (50 * value / max(largest, 1) for value in (lost, won))
    return _svg(
        "diverging",
        14,
        [
            f'<rect class="lost" x="{50 - left:.2f}%" y="2" width="{left:.2f}%" height="10"/>',
            f'<rect class="won" x="50%" y="2" width="{right:.2f}%" height="10"/>',
            '<line class="rule" x1="50%" x2="50%" y1="0" y2="14"/>',
        ],
    )


def scale_of(ends: list[float]) -> float:
    """The half width of an axis around zero. One that is more than five times all the others is
    left off (and drawn as an arrow), so that the others can be seen.

    >>> scale_of([589.0, 23.0, 7.2]), scale_of([20.0, 9.0]), scale_of([])
    (23.0, 20.0, 1.0)
    """
    sizes = sorted((abs(end) for end in ends if end), reverse=True)
    if len(sizes) > 1 and sizes[0] > 5 * sizes[1]:
        return sizes[1]
    return sizes[0] if sizes else 1.0


def split_bar(answered: float, form: float, sight: float, largest: float) -> Markup:
    """A difference as three bars from the zero line: answered, form, sight; points of accuracy. A
    bar that is longer than the axis ends in an arrow.
    """
    parts = []
    for kind, value, y in (("answered", answered, 1), ("form", form, 10), ("sight", sight, 19)):
        width = min(abs(value) / largest, 1.0) * 48
        x = 50 - width if value < 0 else 50
        parts.append(f'<rect class="{kind}" x="{x:.2f}%" y="{y}" width="{width:.2f}%" height="7"/>')
        if abs(value) > largest * 1.001:
            parts.append(_arrow(kind, value > 0, y + 3.5))
    parts.append('<line class="zero" x1="50%" x2="50%" y1="0" y2="27"/>')
    return _svg("split", 27, parts)


def change(value: float, interval: Interval | None, largest: float) -> Markup:
    """A difference with its interval around the zero line; an arrow where either is beyond the
    axis.
    """
    axis = Axis(-largest, largest)
    parts = [
        '<line class="rule" x1="0" x2="100%" y1="7" y2="7"/>',
        '<line class="zero" x1="50%" x2="50%" y1="0" y2="14"/>',
    ]
    if interval is not None:
        low, high = axis.at(interval[0]), axis.at(interval[1])
        parts.append(f'<line class="ci" x1="{low}%" x2="{high}%" y1="7" y2="7"/>')
    sides = beyond(value, interval, largest)
    parts += [_arrow("beyond", side == "right", 7) for side in sides]
    if abs(value) <= largest * 1.001:
        parts.append(f'<circle class="dot" cx="{axis.at(value)}%" cy="7" r="3.5"/>')
    return _svg("change", 14, parts)


def beyond(value: float, interval: Interval | None, largest: float) -> list[str]:
    """On which sides a difference, or its interval, is beyond the axis.

    >>> beyond(575.0, (561.0, 589.0), 25.0), beyond(3.0, (-30.0, 9.0), 25.0)
    (['right'], ['left'])
    """
    ends = [value, *(interval or ())]
    most = largest * 1.001
    return ["left"] * (min(ends) < -most) + ["right"] * (max(ends) > most)


def _arrow(kind: str, to_right: bool, y: float) -> str:
    """An arrow at one end of the drawing: the value is beyond the axis."""
    tip, back = (0, -9) if to_right else (0, 9)
    x = "100%" if to_right else "0%"
    return (
        f'<svg class="{kind}" x="{x}" y="{y}" overflow="visible">'
        f'<path d="M{back} -5 L{tip} 0 L{back} 5 Z"/></svg>'
    )


def shares(values: list[tuple[int, float]]) -> Markup:
    """One bar cut into shares of its sum. Each value comes with the number of its colour."""
    total = sum(value for _, value in values) or 1.0
    parts, x = [], 0.0
    for colour, value in values:
        width = 100 * value / total
        parts.append(
            f'<rect class="t{colour}" x="{x:.2f}%" y="0" width="{width:.2f}%" height="14"/>'
        )
        x += width
    return _svg("shares", 14, parts)


@dataclass(frozen=True)
class Curve:
    """A drawn curve and the labels around it; its running mean goes from `begin` to `end`. `middle`
    is the label at half height: the value of a constant curve, or the value from which the labels
    of the ends are written as distances, where the ends would read the same.
    """

    svg: Markup
    is_constant: bool
    low: str
    middle: str
    high: str
    first_step: str
    last_step: str
    last: str
    points: int
    begin: float
    end: float


def curve(
    points: list[tuple[float, float]], *, across: tuple[float, float] | None = None
) -> Curve | None:
    """A training curve: each step faint, a running mean over a tenth of the curve on top. `across`
    sets the steps that the axis spans. None for fewer than two points.
    """
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(points) < 2:
        return None
    drawn = thinned(points, MAX_POINTS)
    first, last = across or (drawn[0][0], drawn[-1][0])
    steps = Axis(first, max(last, first + 1))
    heights = [y for _, y in drawn]
    is_constant = math.isclose(min(heights), max(heights), rel_tol=1e-9)
    room = 1.0 if is_constant else 0.0
    up = Axis(min(heights) - room, max(heights) + room)
    mean = running_mean(drawn, max(1, len(drawn) // 10))
    lines = [
        f'<line class="rule" x1="0" x2="100" y1="{y}" y2="{y}" vector-effect="non-scaling-stroke"/>'
        for y in ((50,) if is_constant else (0, 50, 100))
    ]
    if len(drawn) >= 20:
        lines.append(_line("raw", drawn, steps, up))
    else:
        mean = drawn
    lines.append(_line("mean", mean, steps, up))
    low, middle, high = ("", compact(heights[0]), "") if is_constant else _ends(up)
    svg = (
        '<svg class="curve" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(lines)}</svg>"
    )
    return Curve(
        svg=Markup(svg),
        is_constant=is_constant,
        low=low,
        middle=middle,
        high=high,
        first_step=compact(first if across else points[0][0]),
        last_step=compact(last if across else points[-1][0]),
        last=compact(mean[-1][1]),
        points=len(points),
        begin=mean[0][1],
        end=mean[-1][1],
    )


def _ends(axis: Axis) -> tuple[str, str, str]:
    """The labels at the bottom, middle and top of an axis. An end that is tiny beside the other is
    written as zero; ends that would read the same are written as distances from the middle.

    >>> _ends(Axis(0.0, 49.0)), _ends(Axis(1 - 2e-8, 1 + 2e-8))
    (('0', '', '49'), ('−2e−08', '1', '+2e−08'))
    """
    dust = 1e-5 * (axis.high - axis.low)
    low, high = (compact(0.0 if abs(end) < dust else end) for end in (axis.low, axis.high))
    if low != high:
        return low, "", high
    half = compact((axis.high - axis.low) / 2)
    return f"{MINUS}{half}", compact((axis.low + axis.high) / 2), f"+{half}"


@dataclass(frozen=True)
class Dots:
    """Points with intervals over steps; `low` and `high` are the axis's ends in percent."""

    svg: Markup
    low: str
    high: str


def dots(points: list[tuple[int, float, Interval | None]], *, across: tuple[float, float]) -> Dots:
    """Shares with their intervals over steps, joined by a line; the axis starts at 0 where that
    costs less than half of its height.
    """
    ends = [share for _, share, _ in points]
    ends += [end for _, _, interval in points if interval for end in interval]
    low, high = min(ends), max(ends)
    axis = Axis.around([0.0, high] if low < 0.5 * high else ends, floor=0.0, top=1.0)
    steps = Axis(across[0], max(across[1], across[0] + 1))
    parts = [f'<line class="rule" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>' for y in (0, 50, 100)]
    places = [(steps.at(step), 100 - axis.at(share), interval) for step, share, interval in points]
    for (x1, y1, _), (x2, y2, _) in itertools.pairwise(places):
        parts.append(f'<line class="path" x1="{x1}%" x2="{x2}%" y1="{y1:.2f}%" y2="{y2:.2f}%"/>')
    for x, y, interval in places:
        if interval is not None:
            top, bottom = 100 - axis.at(interval[1]), 100 - axis.at(interval[0])
            parts.append(
                f'<line class="ci" x1="{x}%" x2="{x}%" y1="{top:.2f}%" y2="{bottom:.2f}%"/>'
            )
        parts.append(f'<circle class="dot" cx="{x}%" cy="{y:.2f}%" r="3.5"/>')
    svg = f'<svg class="dots" width="100%" height="100%" aria-hidden="true">{"".join(parts)}</svg>'
    return Dots(Markup(svg), f"{100 * axis.low:.0f} %", f"{100 * axis.high:.0f} %")


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points, each the mean of a run of neighbouring points."""
    if len(points) <= most:
        return points
    size = len(points) / most
    stretches = [points[int(i * size) : int((i + 1) * size)] for i in range(most)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part))
        for part in stretches
        if part
    ]


def running_mean(points: list[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """At each point the mean over up to `width` points on either side."""
    out = []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - width) : i + width + 1]]
        out.append((x, sum(near) / len(near)))
    return out


def _line(kind: str, points: list[tuple[float, float]], across: Axis, up: Axis) -> str:
    path = " ".join(f"{across.at(x)},{round(100 - up.at(y), 2)}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}" vector-effect="non-scaling-stroke"/>'


def _svg(kind: str, height: int, parts: list[str]) -> Markup:
    return Markup(
        f'<svg class="{kind}" width="100%" height="{height}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )
