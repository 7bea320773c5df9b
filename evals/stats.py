"""Statistics of evaluations: clustered errors, cluster bootstraps of a benchmark's own statistic,
sign test, Holm, power.

Questions about one image are not independent, so the image is the unit everywhere: `sums_CK` holds
each cluster's K sufficient statistics (for an accuracy: sum of scores, count), a resample weighs
clusters, and a benchmark's statistic is a function of the weighted totals. Letters: C clusters, K
sufficient statistics, B resamples, S statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Totals [..., K] -> the statistics [..., S].
Statistic = Callable[[Floats], Floats]

NUM_RESAMPLES = 10_000
_CHUNK = 500


@dataclass(frozen=True)
class Interval:
    """A statistic with its two-sided 95 % percentile interval, and its one-sided 95 % bounds (5th
    and 95th percentile).
    """

    value: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    stderr: float
    p_value: float = math.nan


def cluster_rows(cluster_ids: Sequence[Hashable], rows_NK: Floats) -> tuple[list[Hashable], Floats]:
    """Each cluster's sums, clusters in order of first appearance. Shapes: [N, K] -> [C, K]."""
    numbers: dict[Hashable, int] = {}
    index_N = np.array([numbers.setdefault(name, len(numbers)) for name in cluster_ids], dtype=int)
    sums_CK = np.zeros((len(numbers), rows_NK.shape[1]))
    np.add.at(sums_CK, index_N, rows_NK)
    return list(numbers), sums_CK


def stderr(values_N: Sequence[float]) -> float:
    """The plain standard error of the mean: sd with n - 1, over sqrt(n). 0 below two values."""
    n = len(values_N)
    return float(np.std(np.asarray(values_N, dtype=float), ddof=1) / math.sqrt(n)) if n > 1 else 0.0


def stderr_clustered(values_N: Sequence[float], cluster_ids: Sequence[Hashable]) -> float:
    """The standard error of the mean with questions clustered: 0 below two clusters.

    sqrt(C/(C-1) * sum over clusters of (sum of (x - mean))^2) / n.  Source: inspect_ai,
    `stderr(cluster=...)`.
    """
    values = np.asarray(values_N, dtype=float)
    if len(values) == 0:
        return 0.0
    centred_N1 = (values - values.mean())[:, None]
    clusters, sums_C1 = cluster_rows(cluster_ids, centred_N1)
    num = len(clusters)
    if num < 2:
        return 0.0
    return math.sqrt(num / (num - 1) * float((sums_C1**2).sum())) / len(values)


def bootstrap(
    sums_CK: Floats, statistic: Statistic, *, seed: int = 0, resamples: int = NUM_RESAMPLES
) -> list[Interval]:
    """Cluster bootstrap of the statistics of one system."""
    draws_BS = _draws([sums_CK], lambda totals: statistic(totals[0]), seed, resamples)
    value_S = statistic(sums_CK.sum(axis=0)[None])[0]
    return [_interval(float(v), draws) for v, draws in zip(value_S, draws_BS.T, strict=True)]


def paired_bootstrap(
    ours_CK: Floats,
    theirs_CK: Floats,
    statistic: Statistic,
    *,
    seed: int = 0,
    resamples: int = NUM_RESAMPLES,
) -> list[Interval]:
    """Paired cluster bootstrap of the difference ours - theirs: one resample of clusters serves
    both.

    The p-value is two-sided: twice the smaller share of resampled differences on either side of 0
    (with one added to both counts), at most 1.
    """
    if ours_CK.shape != theirs_CK.shape:
        raise ValueError(f"not paired: {ours_CK.shape} and {theirs_CK.shape}")

    def difference(totals: list[Floats]) -> Floats:
        return statistic(totals[0]) - statistic(totals[1])

    draws_BS = _draws([ours_CK, theirs_CK], difference, seed, resamples)
    value_S = difference([ours_CK.sum(axis=0)[None], theirs_CK.sum(axis=0)[None]])[0]
    return [
        _interval(float(value), draws, two_sided_p(draws))
        for value, draws in zip(value_S, draws_BS.T, strict=True)
    ]


def two_sided_p(draws_B: Floats) -> float:
    """The two-sided p-value that resampled differences give against 0, in (0, 1]."""
    # Float noise of equal systems must count as 0, or the sign of 1e-17 would decide.
    slack = 1e-9 * max(1.0, float(np.abs(draws_B).max(initial=0.0)))
    below = int((draws_B <= slack).sum()) + 1
    above = int((draws_B >= -slack).sum()) + 1
    return min(1.0, 2 * min(below, above) / (len(draws_B) + 1))


def _draws(
    systems: Sequence[Floats],
    statistic: Callable[[list[Floats]], Floats],
    seed: int,
    resamples: int,
) -> Floats:
    """Statistics of every resample: [B, S]. The weights (how often a cluster is drawn) are made
    chunk by chunk.
    """
    num = len(systems[0])
    if num == 0:
        raise ValueError("a bootstrap needs at least one cluster")
    rng = np.random.default_rng(seed)
    parts: list[Floats] = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        picks_BC = rng.integers(0, num, size=(size, num)) + np.arange(size)[:, None] * num
        weights_BC = np.bincount(picks_BC.ravel(), minlength=size * num).reshape(size, num)
        weights = weights_BC.astype(np.float64)
        parts.append(statistic([weights @ sums for sums in systems]))
    return np.concatenate(parts)


def _interval(value: float, draws_B: Floats, p_value: float = math.nan) -> Interval:
    low, lower, upper, high = (float(q) for q in np.quantile(draws_B, [0.025, 0.05, 0.95, 0.975]))
    return Interval(value, low, high, lower, upper, float(draws_B.std(ddof=1)), p_value)


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided sign test of `wins` against `losses` (ties left out); 1 where there are
    none.
    """
    n, fewer = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    # Through logarithms: 2**n overflows a float beyond n = 1023.
    log_half = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, log_half)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values, keys as given."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def minimum_detectable_effect(stderr: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference that a two-sided test at `alpha` finds with this power, in the units of
    `stderr`.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * stderr


def questions_needed(
    variance: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """How many questions rule out a drop of `margin` when there is none: one-sided at `alpha`,
    `variance` a question.

    12 % discordant pairs (variance 0.12) and 2 points:

    >>> questions_needed(0.12, 0.02)
    1855
    """
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    return math.ceil(z * z * variance / (margin * margin))
