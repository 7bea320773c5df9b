"""Intervals, p-values and the gate where the truth is known: 2,000 simulations each."""

import pytest

from tests.evals.scoring.simulate import CASES, gate_verdicts, measure


@pytest.mark.parametrize("case", CASES[1:3] + CASES[4:], ids=lambda case: case.name)
def test_intervals_cover_and_p_values_are_uniform(case):
    found = measure(case, 100)
    assert 0.93 <= found.covered <= 0.97
    assert 0.93 <= found.covered_difference <= 0.97
    assert found.ks_p > 0.01
    assert 0.04 <= found.below_5_percent <= 0.065


def test_few_images_are_no_licence():
    accuracy = CASES[1]
    found = measure(accuracy, 20)
    assert 0.93 <= found.covered <= 0.97
    assert 0.93 <= found.covered_difference <= 0.97


def test_the_gate_keeps_its_promises():
    harmless, at_the_limit, harmful = (gate_verdicts(2000, drop) for drop in (0.0, 0.02, 0.04))
    assert harmless["fail"] == 0  # the false alarm
    assert harmless["pass"] > 0.78  # 1,855 questions give 80 %
    assert 0.03 <= at_the_limit["fail"] <= 0.07
    assert 0.03 <= at_the_limit["pass"] <= 0.07
    assert harmful["fail"] > 0.78
    assert harmful["pass"] < 0.005
