"""Statistics of evaluations: clustered errors, cluster bootstraps of a benchmark's own statistic,
sign test, Holm, power.

Questions about one image are not independent, so the image is the unit everywhere: `sums_CK` holds
each cluster's K sufficient statistics (for an accuracy: sum of scores, count), a resample weighs
clusters, and a benchmark's statistic is a function of the weighted totals. Letters: C clusters, K
sufficient statistics, B resamples, S statistics, N systems.

A plain percentile interval is too narrow for few clusters. Three known remedies are built in; what
they gain is measured in docs/statistics.md.
- A resample draws n - 1 of n clusters, weights rescaled by n / (n - 1), within strata where the
  statistic is a sum over categories. Its variance is the clustered formula's, and no category
  vanishes.  Source: Rao, Wu and Yue, Survey Methodology 18 (1992).
- Quantiles are taken at the levels of Student's t with (clusters - strata) degrees of freedom.
  Source: Hesterberg, The American Statistician 69 (2015), section 5.3.
- One system's score is skewed near its maximum: its interval is corrected for bias and
  acceleration (BCa). A paired difference is not, and there BCa only adds noise.  Source: Efron,
  JASA 82 (1987).
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
    """A statistic with its two-sided 95 % interval, and its one-sided 95 % bounds."""

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
    sums_CK: Floats,
    statistic: Statistic,
    *,
    strata: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = NUM_RESAMPLES,
) -> list[Interval]:
    """Cluster bootstrap of the statistics of one system (BCa). `strata` names each cluster's."""
    plan = _Plan.of(len(sums_CK), strata)
    draws_BS = _draws([sums_CK], lambda totals: statistic(totals[0]), plan, seed, resamples)
    total_K = sums_CK.sum(axis=0)
    value_S = statistic(total_K[None])[0]
    without_CS = statistic(total_K - sums_CK)
    return [
        _interval(float(v), draws, plan.df, _skew(float(v), draws, without_C, plan))
        for v, draws, without_C in zip(value_S, draws_BS.T, without_CS.T, strict=True)
    ]


def paired_bootstrap(
    ours_CK: Floats,
    theirs_CK: Floats,
    statistic: Statistic,
    *,
    theirs: Statistic | None = None,
    strata: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = NUM_RESAMPLES,
) -> list[Interval]:
    """Paired cluster bootstrap of the difference ours - theirs: one resample of clusters serves
    both. `theirs` is their statistic where their sums are laid out otherwise. The p-value is
    two-sided (`two_sided_p`).

    Raises: ValueError where the two have different clusters, or different sums and one statistic.
    """
    if len(ours_CK) != len(theirs_CK) or (theirs is None and ours_CK.shape != theirs_CK.shape):
        raise ValueError(f"not paired: {ours_CK.shape} and {theirs_CK.shape}")
    their_statistic = statistic if theirs is None else theirs

    def difference(totals: list[Floats]) -> Floats:
        return statistic(totals[0]) - their_statistic(totals[1])

    plan = _Plan.of(len(ours_CK), strata)
    draws_BS = _draws([ours_CK, theirs_CK], difference, plan, seed, resamples)
    value_S = difference([ours_CK.sum(axis=0)[None], theirs_CK.sum(axis=0)[None]])[0]
    return [
        _interval(float(value), draws, plan.df, p_value=two_sided_p(draws, plan.df))
        for value, draws in zip(value_S, draws_BS.T, strict=True)
    ]


def every_pair(
    systems: Sequence[Floats],
    statistics: Sequence[Statistic],
    *,
    strata: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = NUM_RESAMPLES,
) -> dict[tuple[int, int], list[Interval]]:
    """The paired bootstrap of every two systems (later, earlier) at about the price of one: the
    same resamples serve them all, so each pair's figures are those of `paired_bootstrap`.

    Shapes: `systems` N times [C, K], `statistics` N functions of [B, K] to [B, S]; a pair has S
    intervals. Raises: ValueError where two have different clusters.
    """
    if len({len(sums) for sums in systems}) > 1:
        raise ValueError(f"not paired: {[len(sums) for sums in systems]} clusters")

    def each(totals: list[Floats]) -> Floats:
        found = [one(total) for one, total in zip(statistics, totals, strict=True)]
        return np.stack(found, axis=1)

    plan = _Plan.of(len(systems[0]), strata)
    draws_BNS = _draws(systems, each, plan, seed, resamples)
    value_NS = each([sums.sum(axis=0)[None] for sums in systems])[0]
    return {
        (later, earlier): [
            _interval(float(value), draws_B, plan.df, p_value=two_sided_p(draws_B, plan.df))
            for value, draws_B in zip(
                value_NS[later] - value_NS[earlier],
                (draws_BNS[:, later] - draws_BNS[:, earlier]).T,
                strict=True,
            )
        ]
        for later in range(len(systems))
        for earlier in range(later)
    }


def two_sided_p(draws_B: Floats, df: float = math.inf) -> float:
    """The two-sided p-value that resampled differences give against 0, in (0, 1].

    The share of draws below 0, ties counted half (mid-p: scores of questions are lattices), is read
    as a place on Student's t with `df` degrees of freedom.
    """
    from scipy.special import ndtri, stdtr

    # Float noise of equal systems must count as 0, or the sign of 1e-17 would decide.
    slack = 1e-9 * max(1.0, float(np.abs(draws_B).max(initial=0.0)))
    below, above = int((draws_B < -slack).sum()), int((draws_B > slack).sum())
    ties = len(draws_B) - below - above
    share = (min(below, above) + ties / 2 + 0.5) / (len(draws_B) + 1)
    z = float(ndtri(min(0.5, share)))
    return 2 * float(stdtr(df, z) if math.isfinite(df) else share)


@dataclass(frozen=True)
class _Plan:
    """How clusters are drawn: `order_C` lists them stratum by stratum, `sizes` the strata's."""

    order_C: NDArray[np.int64]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, num: int, strata: Sequence[Hashable] | None) -> _Plan:
        if num == 0:
            raise ValueError("a bootstrap needs at least one cluster")
        names = list(strata) if strata is not None else [0] * num
        numbers: dict[Hashable, int] = {}
        index_C = np.array([numbers.setdefault(name, len(numbers)) for name in names])
        return cls(
            np.argsort(index_C, kind="stable"),
            tuple(int(size) for size in np.bincount(index_C, minlength=len(numbers))),
        )

    @property
    def df(self) -> int:
        """Degrees of freedom: clusters less strata, at least 1."""
        return max(1, len(self.order_C) - len(self.sizes))

    def weights(self, rng: np.random.Generator, size: int) -> Floats:
        """How much each cluster counts in each of `size` resamples: [size, C]. A stratum of one
        cluster keeps it: nothing says how much it varies.
        """
        num = len(self.order_C)
        weights_BC = np.ones((size, num))
        start = 0
        for n in self.sizes:
            if n > 1:
                picks = rng.integers(0, n, size=(size, n - 1)) + np.arange(size)[:, None] * n
                counts = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n)
                weights_BC[:, self.order_C[start : start + n]] = counts * (n / (n - 1))
            start += n
        return weights_BC


def _draws(
    systems: Sequence[Floats],
    statistic: Callable[[list[Floats]], Floats],
    plan: _Plan,
    seed: int,
    resamples: int,
) -> Floats:
    """Statistics of every resample: [B, S], weights made chunk by chunk."""
    rng = np.random.default_rng(seed)
    parts: list[Floats] = []
    for start in range(0, resamples, _CHUNK):
        weights_BC = plan.weights(rng, min(_CHUNK, resamples - start))
        parts.append(statistic([weights_BC @ sums for sums in systems]))
    return np.concatenate(parts)


def _skew(value: float, draws_B: Floats, without_C: Floats, plan: _Plan) -> tuple[float, float]:
    """BCa's bias (in standard deviations) and acceleration; `without_C` is the statistic without
    each cluster.
    """
    from scipy.special import ndtri

    slack = 1e-9 * max(1.0, abs(value))
    ties = np.abs(draws_B - value) <= slack
    below = float((draws_B < value - slack).sum() + ties.sum() / 2 + 0.5) / (len(draws_B) + 1)
    influence: list[Floats] = []
    start = 0
    for n in plan.sizes:
        part = without_C[plan.order_C[start : start + n]]
        influence.append(part.mean() - part)
        start += n
    all_C = np.concatenate(influence)
    spread = float((all_C**2).sum()) ** 1.5
    return float(ndtri(below)), float((all_C**3).sum()) / (6 * spread) if spread > 0 else 0.0


def _interval(
    value: float,
    draws_B: Floats,
    df: float,
    skew: tuple[float, float] = (0.0, 0.0),
    p_value: float = math.nan,
) -> Interval:
    from scipy.special import ndtr, stdtrit

    bias, acceleration = skew
    shift_4 = bias + stdtrit(df, np.array([0.025, 0.05, 0.95, 0.975]))
    levels_4 = ndtr(bias + shift_4 / np.maximum(1 - acceleration * shift_4, 0.05))
    low, lower, upper, high = (float(q) for q in np.quantile(draws_B, levels_4))
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
