"""Geometry of the drawings."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.report.display.charts import (
    Axis,
    bar,
    beyond,
    change,
    curve,
    diverging,
    round_up,
    running_mean,
    thinned,
    whisker,
)
from evals.report.display.graph import strip
from evals.report.run import read_run


def test_an_axis_maps_to_percent_and_never_leaves_it():
    axis = Axis(0.0, 200.0)
    assert (axis.at(50), axis.at(-10), axis.at(300)) == (25.0, 0.0, 100.0)
    assert Axis.around([3.0, 3.0]).at(3.0) == 50.0
    assert Axis.around([], floor=0.0).low == 0.0


def test_thinning_keeps_the_mean_of_every_step():
    points = [(float(i), float(i % 7)) for i in range(1000)]
    thin = thinned(points, 240)
    assert len(thin) <= 240
    assert thinned(points[:10], 240) == points[:10]
    even = thinned(points[:960], 240)
    assert sum(y for _, y in even) / 240 == pytest.approx(sum(y for _, y in points[:960]) / 960)


def test_a_running_mean_of_a_constant_is_the_constant():
    assert running_mean([(i, 2.0) for i in range(9)], 3) == [(i, 2.0) for i in range(9)]


def test_curves_leave_out_what_is_not_finite():
    assert curve([(1, 1.0), (2, float("nan"))]) is None
    drawn = curve([(i, float(i)) for i in range(50)] + [(50, float("inf"))])
    assert drawn is not None
    assert (drawn.points, drawn.low, drawn.high) == (50, "0", "49")
    assert "nan" not in drawn.svg
    assert curve([(1, 3.0), (2, 3.0)]) is not None


def test_a_constant_has_its_value_and_no_ends():
    drawn = curve([(float(i), 5e-5) for i in range(50)])
    assert drawn is not None
    assert drawn.is_constant
    assert (drawn.low, drawn.middle, drawn.high) == ("", "5e−05", "")
    assert set(re.findall(r",([\d.]+)", drawn.svg)) == {"50.0"}  # one height, half way up
    zero = curve([(1, 0.0), (2, 0.0)])
    assert zero is not None
    assert zero.middle == "0"
    close = curve([(1, 1.0), (2, 1.0 + 4e-8)])
    assert close is not None
    assert not close.is_constant
    assert (close.low, close.middle, close.high) == ("−2e−08", "1", "+2e−08")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_an_axis_ends_at_round_numbers_around_its_values(values):
    axis = Axis.around(values)
    slack = 1e-9 * max(map(abs, values)) + 1e-9
    assert axis.low <= min(values) + slack
    assert max(values) <= axis.high + slack
    assert Axis.around([0.0, 0.466], floor=0.0, top=1.0) == Axis(0.0, 0.5)
    assert Axis.around([0.0, 598.0], floor=0.0, top=800.0) == Axis(0.0, 600.0)
    assert Axis.around([0.0, 0.0], floor=0.0, top=800.0) == Axis(0.0, 800.0)


@given(st.floats(1e-9, 1e9))
def test_a_half_axis_is_the_next_round_number(size):
    assert size * (1 - 1e-6) <= round_up(size) <= 2 * size * (1 + 1e-6)


def test_a_difference_beyond_its_axis_says_so():
    assert beyond(575.0, (561.0, 589.0), 25.0) == ["right"]
    assert beyond(3.0, (-30.0, 40.0), 25.0) == ["left", "right"]
    assert beyond(25.0, (23.0, 25.0), 25.0) == []
    svg = change(575.0, (561.0, 589.0), 25.0)
    assert 'class="beyond"' in svg
    assert 'class="dot"' not in svg
    assert 'class="dot"' in change(3.0, (-30.0, 9.0), 25.0)


def test_marks_lie_where_their_numbers_say():
    svg = whisker(Axis(0.0, 1.0), 0.5, (0.4, 0.6), 0.25)
    assert 'cx="50.0%"' in svg
    assert 'x1="40.0%" x2="60.0%"' in svg
    assert 'class="base" x1="25.0%"' in svg
    assert 'width="70.0%"' in bar(0.7, None)
    assert 'class="fill"' not in bar(None, None)
    assert 'x="25.00%"' in diverging(5, 10, 10)


def test_stages_stand_right_of_their_parents(make_run):
    drawn = strip(read_run(make_run()))
    left = {box.stage: box.left for box in drawn.boxes}
    assert left["base"] < left["sft"] < left["dpo"] == left["kto"] == left["pairs"] < left["grpo"]
    tops = [box.top for box in drawn.boxes if box.left == left["dpo"]]
    assert min(b - a for a, b in zip(sorted(tops), sorted(tops)[1:], strict=False)) >= 96
    assert len(re.findall("<path d=", drawn.edges)) == 5


def test_a_cycle_of_parents_ends(make_run):
    run = read_run(make_run(facts={"sft": {"parent": "dpo"}}))
    assert len(strip(run).boxes) == 6


def test_a_stage_stands_right_after_the_one_it_comes_from(make_run):
    """A narrow screen shows the cards one below the other: no other branch lies between."""
    drawn = strip(read_run(make_run()))
    assert [(box.stage, box.depth) for box in drawn.boxes] == [
        ("base", 0),
        ("sft", 1),
        ("dpo", 2),
        ("grpo", 3),
        ("kto", 2),
        ("pairs", 2),
    ]
