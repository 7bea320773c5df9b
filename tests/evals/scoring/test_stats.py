"""Statistics: formulas by hand, and simulations with a fixed seed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scoring.significance import (
    holm,
    minimum_detectable_effect,
    questions_needed,
    sign_test,
)
from evals.scoring.stats import (
    bootstrap,
    cluster_rows,
    every_pair,
    paired_bootstrap,
    stderr,
    stderr_clustered,
    two_sided_p,
)


def mean(totals):
    return (totals[..., 0] / np.maximum(totals[..., 1], 1))[..., None]


def simulate(rng, num_clusters: int, shift: float = 0.0):
    """Two models on clustered questions: a shared difficulty of each image, own noise."""
    sizes = rng.integers(1, 4, num_clusters)
    ids = np.repeat(np.arange(num_clusters), sizes)
    ease = rng.normal(0, 1, num_clusters)[ids]
    a = (ease + rng.normal(shift, 1, len(ids)) > 0).astype(float)
    b = (ease + rng.normal(0, 1, len(ids)) > 0).astype(float)
    ones = np.ones(len(ids))
    sums = [cluster_rows(list(ids), np.stack([x, ones], 1))[1] for x in (a, b)]
    return a, ids, sums


def test_plain_stderr_uses_n_minus_1():
    assert stderr([1, 0, 1, 0]) == pytest.approx(math.sqrt(1 / 3) / 2)
    assert stderr([1.0]) == 0.0


def test_clustered_stderr_by_hand():
    # Two images, (1, 1) and (0, 0): mean 0.5, sums of deviations 1 and -1.
    assert stderr_clustered([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(
        math.sqrt(2 / 1 * 2) / 4
    )
    values = [1.0, 0.0, 1.0, 1.0]
    assert stderr_clustered(values, [1, 2, 3, 4]) == pytest.approx(stderr(values))
    assert stderr_clustered(values, [1, 1, 1, 1]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=40))
def test_clustered_stderr_ignores_order(rows):
    forward = stderr_clustered([v for _, v in rows], [c for c, _ in rows])
    back = stderr_clustered([v for _, v in rows[::-1]], [c for c, _ in rows[::-1]])
    assert forward == pytest.approx(back, abs=1e-9)


def test_bootstrap_error_agrees_with_the_formula():
    a, ids, (sums, _) = simulate(np.random.default_rng(3), 400)
    (found,) = bootstrap(sums, mean)
    assert found.value == pytest.approx(a.mean())
    assert found.stderr == pytest.approx(stderr_clustered(a, list(ids)), rel=0.05)
    assert found.low < found.lower_bound < found.value < found.upper_bound < found.high


def test_bootstrap_is_seeded():
    _, _, (a, b) = simulate(np.random.default_rng(1), 50)
    first = paired_bootstrap(a, b, mean, seed=5, resamples=500)
    assert first == paired_bootstrap(a, b, mean, seed=5, resamples=500)
    assert first != paired_bootstrap(a, b, mean, seed=6, resamples=500)


def test_equal_models_have_p_1():
    _, _, (a, _) = simulate(np.random.default_rng(1), 50)
    (same,) = paired_bootstrap(a, a, mean, resamples=200)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_coverage_and_uniform_p_under_the_null():
    rng = np.random.default_rng(0)
    trials, covered, p_values = 400, 0, []
    for trial in range(trials):
        _, _, (a, b) = simulate(rng, 120)
        (found,) = paired_bootstrap(a, b, mean, seed=trial, resamples=400)
        covered += found.low <= 0 <= found.high
        p_values.append(found.p_value)
    assert 0.915 <= covered / trials <= 0.98
    ranks = np.arange(1, trials + 1) / trials
    distance = np.abs(np.sort(p_values) - ranks).max()
    assert distance < 1.63 / math.sqrt(trials)  # Kolmogorov-Smirnov at 1 %


def test_a_true_difference_is_found():
    _, _, (a, b) = simulate(np.random.default_rng(2), 600, shift=0.5)
    (found,) = paired_bootstrap(a, b, mean)
    assert found.low > 0
    assert found.p_value < 0.001


def test_a_resample_has_the_clustered_formulas_variance():
    # Two clusters, the smallest case: drawing 2 of 2 would give half the variance.
    rows = np.array([[1.0, 2.0], [2.0, 2.0]])
    values, ids = [1, 0, 1, 1], ["a", "a", "b", "b"]
    (found,) = bootstrap(rows, mean, resamples=4000)
    assert found.stderr == pytest.approx(stderr_clustered(values, ids), rel=0.05)


def test_no_category_vanishes_from_a_resample():
    # Two images of each of three categories; the statistic is a sum over categories.
    sums = np.zeros((6, 6))
    for cluster in range(6):
        at = 2 * (cluster % 3)
        sums[cluster, at : at + 2] = (1 + cluster // 3, 2)

    def total(totals):
        cells = totals.reshape(*totals.shape[:-1], 3, 2)
        return (cells[..., 0] / np.maximum(cells[..., 1], 1)).sum(-1)[..., None]

    (mixed,) = bootstrap(sums, total)
    (kept,) = bootstrap(sums, total, strata=[cluster % 3 for cluster in range(6)])
    assert kept.value == mixed.value == pytest.approx(2.25)
    assert mixed.low < 1.5 <= kept.low  # 1.5 is the worst that every category present can give


def test_a_lone_cluster_is_kept():
    sums = np.array([[1.0, 2.0], [5.0, 9.0], [7.0, 9.0]])
    (found,) = bootstrap(sums[:1], mean, resamples=100)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)
    (found,) = paired_bootstrap(sums, sums * [[0.5, 1]], mean, strata=[0, 1, 2], resamples=100)
    assert found.low == found.high


def test_few_clusters_widen_the_interval():
    rng = np.random.default_rng(0)
    sums = np.stack([rng.integers(0, 5, 6), np.full(6, 4.0)], 1)
    (found,) = paired_bootstrap(sums, np.stack([np.full(6, 2.0), np.full(6, 4.0)], 1), mean)
    normal = 1.96 * found.stderr
    assert (found.high - found.low) / 2 > 1.15 * normal


def test_ties_count_half():
    draws = np.array([-1.0] * 10 + [0.0] * 40 + [1.0] * 50)
    assert two_sided_p(draws) == pytest.approx(2 * 30.5 / 101)
    assert two_sided_p(np.zeros(100)) == 1.0
    assert two_sided_p(np.zeros(100), df=5) == 1.0


def test_unpaired_sums_are_refused():
    with pytest.raises(ValueError, match="not paired"):
        paired_bootstrap(np.ones((2, 2)), np.ones((3, 2)), mean)


def test_sign_test_is_exact():
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 5) == 1.0
    assert sign_test(10, 0) == pytest.approx(2 / 2**10)
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert 0 < sign_test(3000, 2800) < 0.02


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert holm({}) == {}


def test_power():
    assert questions_needed(0.12, 0.02) == pytest.approx(1850, rel=0.01)
    assert minimum_detectable_effect(0.01) == pytest.approx(0.028, abs=2e-4)


def test_every_pair_is_the_paired_bootstrap_of_each_two():
    rng = np.random.default_rng(3)
    *_, (a, b) = simulate(rng, 40, 0.4)
    c = a[:, [0, 1]] * [0.5, 1.0]
    strata = ["x", "y"] * 20
    found = every_pair([a, b, c], [mean] * 3, strata=strata, seed=5, resamples=700)
    assert list(found) == [(1, 0), (2, 0), (2, 1)]
    for (later, earlier), told in found.items():
        ours, theirs = (a, b, c)[later], (a, b, c)[earlier]
        assert told == paired_bootstrap(ours, theirs, mean, strata=strata, seed=5, resamples=700)
    with pytest.raises(ValueError, match="not paired"):
        every_pair([a, b[:-1]], [mean] * 2)
