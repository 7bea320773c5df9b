"""Standard errors, bootstrap intervals and paired differences of evaluations.

Two questions are answered here. How far may a score be from its true value (`stderr_clustered`,
`bootstrap`)? Is the difference of two models more than chance (`paired_bootstrap`)?
`evals.scoring.significance` has the sign test, Holm's adjustment and the power of a comparison.

**The image is the unit.** Questions about one image are not independent: an image that a model
misreads makes it fail at all of them. Taken for independent, they would make every interval too
narrow. So whole clusters (all questions about an image) are resampled, never single questions.

**A benchmark's own statistic is resampled**, be it a mean, F1 or MME's total. A statistic is a
function of sums over questions: the accuracy is (sum of scores) / (number of questions), a ratio of
two sums and not a mean of the images' means, which would give an image of one question the weight
of one with ten. `sums_CK` holds each cluster's K sums; a resample weighs the clusters, adds the
weighted sums up, and the statistic is computed of the totals.

Letters: C clusters, K sums of a cluster, B resamples, S statistics, N systems or rows.

The usual percentile bootstrap gives intervals that are too narrow when clusters are few. Three
known remedies are built in; docs/statistics.md measures what they gain.

- *n - 1 of n clusters.* Drawing n of n clusters gives a variance that is (n - 1) / n of the
  unbiased one. A resample therefore draws n - 1 clusters and rescales their weights by n / (n - 1),
  within strata where the statistic is a sum over categories, so that no category is ever absent.
  Source: Rao, Wu and Yue, Survey Methodology 18 (1992).
- *Student's t.* Quantiles are taken at the levels that Student's t with (clusters - strata) degrees
  of freedom has at the normal's 2.5 % and 97.5 %, and so lie further out with few clusters.
  Source: Hesterberg, The American Statistician 69 (2015), section 5.3.
- *BCa.* One system's score is skewed near its maximum, so its interval is corrected for bias and
  acceleration. The difference of two systems is not skewed, and there BCa would only add noise.
  Source: Efron, JASA 82 (1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# From totals [..., K] to the statistics [..., S].
Statistic = Callable[[Floats], Floats]

NUM_RESAMPLES = 10_000
_CHUNK = 500  # resamples computed at once: bounds memory, not the result


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % interval.

    `low` to `high` is the two-sided interval. `lower_bound` and `upper_bound` are one-sided: the
    true value lies above the one, or below the other, with 95 % confidence each; they lie inside
    the interval. `p_value` is set for differences (against 0) and NaN otherwise.
    """

    value: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    stderr: float
    p_value: float = math.nan


def cluster_rows(cluster_ids: Sequence[Hashable], rows_NK: Floats) -> tuple[list[Hashable], Floats]:
    """Adds the rows of each cluster up: (cluster ids, [C, K]), clusters in order of first
    appearance. `rows_NK` [N, K] holds one row a question.

    Image "x" has two questions, one right; image "y" has one, right. Columns: score, count.

    >>> names, sums_CK = cluster_rows(["x", "y", "x"], np.array([[1.0, 1], [1, 1], [0, 1]]))
    >>> names, sums_CK.tolist()
    (['x', 'y'], [[1.0, 2.0], [1.0, 1.0]])
    """
    numbers: dict[Hashable, int] = {}
    index_N = np.array([numbers.setdefault(name, len(numbers)) for name in cluster_ids], dtype=int)
    sums_CK = np.zeros((len(numbers), rows_NK.shape[1]))
    np.add.at(sums_CK, index_N, rows_NK)
    return list(numbers), sums_CK


def stderr(values_N: Sequence[float]) -> float:
    """The standard error of the mean of independent values: standard deviation (with n - 1) over
    sqrt(n); 0 below two values.

    1, 0, 1, 0: the variance is 4 * 0.25 / 3 = 1/3, and sqrt(1/3) / sqrt(4) = 0.2887.

    >>> round(stderr([1, 0, 1, 0]), 4)
    0.2887
    """
    n = len(values_N)
    return float(np.std(np.asarray(values_N, dtype=float), ddof=1) / math.sqrt(n)) if n > 1 else 0.0


def stderr_clustered(values_N: Sequence[float], cluster_ids: Sequence[Hashable]) -> float:
    """The standard error of the mean where values of one cluster depend on one another; 0 below two
    clusters.

    The deviations from the mean are added up within each cluster before they are squared: what
    clusters have in common then counts, and with one value a cluster this is `stderr`.

        sqrt(C / (C - 1) * sum over clusters of (sum of (x - mean))^2) / n

    Source: inspect_ai, `stderr(cluster=...)`.

    1, 1 about image "x" and 0, 0 about "y": the mean is 0.5, the sums of deviations are 1 and -1,
    and sqrt(2 / 1 * (1 + 1)) / 4 = 0.5. Taken for independent, the four answers would give 0.2887.

    >>> stderr_clustered([1, 1, 0, 0], ["x", "x", "y", "y"])
    0.5
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
    """The interval of one system's statistics: a cluster bootstrap with BCa.

    `sums_CK` [C, K] holds each cluster's sums, `statistic` maps totals [..., K] to [..., S], and
    `strata` names the stratum of each cluster (none: all in one). Returns S intervals. Raises:
    ValueError without a cluster.

    20 images with two questions each, of which 1 or 2 are answered right: the accuracy is
    (10 * 1 + 10 * 2) / (20 * 2) = 0.75.

    >>> sums_CK = np.array([[1.0, 2.0], [2.0, 2.0]] * 10)
    >>> (accuracy,) = bootstrap(sums_CK, lambda totals: totals[..., :1] / totals[..., 1:])
    >>> accuracy.value, 0.6 < accuracy.low < 0.75 < accuracy.high < 0.9
    (0.75, True)
    """
    plan = _Plan.of(len(sums_CK), strata)
    draws_BS = _draws([sums_CK], lambda totals: statistic(totals[0]), plan, seed, resamples)
    total_K = sums_CK.sum(axis=0)
    value_S = statistic(total_K[None])[0]
    without_CS = statistic(total_K - sums_CK)  # the jackknife: the statistic without each cluster
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
    """The interval and p-value of the difference ours - theirs of two systems on the same clusters.

    It is paired: one resample of clusters serves both systems, so that the difficulty of the
    images, which both share, cancels. Two unpaired intervals may overlap widely where this one
    excludes 0.

    `ours_CK` and `theirs_CK` [C, K] hold the same clusters in the same order. `theirs` is their
    statistic where their sums have other columns. Returns S intervals, their p-values by
    `two_sided_p`. Raises: ValueError where the two have different clusters, or different columns
    and one statistic.

    Ours has one right answer more about every second image: (30 - 20) / 40 questions = 0.25.

    >>> theirs_CK = np.array([[1.0, 2.0]] * 20)
    >>> ours_CK = np.array([[1.0, 2.0], [2.0, 2.0]] * 10)
    >>> accuracy = lambda totals: totals[..., :1] / totals[..., 1:]
    >>> (gain,) = paired_bootstrap(ours_CK, theirs_CK, accuracy)
    >>> gain.value, gain.low > 0, gain.p_value < 0.001
    (0.25, True, True)
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
    """`paired_bootstrap` of every two of N systems, at about the cost of one.

    The same resamples serve all systems, so each pair has exactly the figures that
    `paired_bootstrap` gives. `systems` are N arrays [C, K], `statistics` N functions of [B, K] to
    [B, S]. Returns {(later, earlier): S intervals of later - earlier}. Raises: ValueError where two
    systems have different clusters.
    """
    if len({len(sums) for sums in systems}) > 1:
        raise ValueError(f"not paired: {[len(sums) for sums in systems]} clusters")

    def each(totals: list[Floats]) -> Floats:
        by_system = [one(total) for one, total in zip(statistics, totals, strict=True)]
        return np.stack(by_system, axis=1)

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
    """The two-sided p-value of resampled differences `draws_B` [B] against 0, in (0, 1].

    Twice the share of draws on the rarer side of 0. Draws of exactly 0 count half on each side
    (mid-p): scores of few questions take few values, so a difference of exactly 0 is common. The
    share is read as a normal quantile, and its p-value is that of Student's t with `df` degrees of
    freedom, which is larger when clusters are few.

    10 draws below 0, 40 at it, 50 above: (10 + 40 / 2 + 0.5) / 101 = 0.302 lie below. The 0.5 and
    the 1 keep p above 0, since 100 draws cannot show that something never happens.

    >>> draws_B = np.array([-1.0] * 10 + [0.0] * 40 + [1.0] * 50)
    >>> round(two_sided_p(draws_B), 3), round(two_sided_p(draws_B, df=5), 3)
    (0.604, 0.626)
    """
    from scipy.special import ndtri, stdtr

    # Rounding noise of equal systems must count as 0, or the sign of 1e-17 would decide.
    slack = 1e-9 * max(1.0, float(np.abs(draws_B).max(initial=0.0)))
    below, above = int((draws_B < -slack).sum()), int((draws_B > slack).sum())
    ties = len(draws_B) - below - above
    share = (min(below, above) + ties / 2 + 0.5) / (len(draws_B) + 1)
    z = float(ndtri(min(0.5, share)))
    return 2 * float(stdtr(df, z) if math.isfinite(df) else share)


@dataclass(frozen=True)
class _Plan:
    """How clusters are drawn. `order_C` lists the clusters stratum by stratum, and `sizes` says how
    many of them each stratum has.
    """

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
        """Degrees of freedom: clusters minus strata, at least 1."""
        return max(1, len(self.order_C) - len(self.sizes))

    def weights(self, rng: np.random.Generator, size: int) -> Floats:
        """How much each cluster counts in each of `size` resamples: [size, C].

        A stratum of n clusters draws n - 1 of them with replacement and weighs each draw by
        n / (n - 1), so that its weights add up to n. A stratum of one cluster keeps it with weight
        1: one cluster does not say how much such clusters vary.
        """
        num = len(self.order_C)
        weights_BC = np.ones((size, num))
        start = 0
        for n in self.sizes:
            if n > 1:
                # Resample b counts its picks in bins b * n to b * n + n - 1: one bincount for all.
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
    """The statistics of every resample: [B, S]. One random stream makes the weights chunk by chunk,
    so the result depends on the seed alone.
    """
    rng = np.random.default_rng(seed)
    parts: list[Floats] = []
    for start in range(0, resamples, _CHUNK):
        weights_BC = plan.weights(rng, min(_CHUNK, resamples - start))
        parts.append(statistic([weights_BC @ sums for sums in systems]))
    return np.concatenate(parts)


def _skew(value: float, draws_B: Floats, without_C: Floats, plan: _Plan) -> tuple[float, float]:
    """BCa's two corrections, (bias, acceleration).

    The bias is the normal quantile of the share of draws below the value: 0 where the value is
    their median. The acceleration is the skewness of the clusters' influence (by the jackknife):
    how fast the standard error changes with the true value. `without_C` [C] is the statistic
    without each cluster; its mean is taken within the stratum, as the resamples are.
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
    """Reads the interval off the draws. BCa moves each level z to bias + z' / (1 - a z') where
    z' = bias + z; with no bias and no acceleration it stays where it is.
    """
    from scipy.special import ndtr, stdtrit

    bias, acceleration = skew
    shift_4 = bias + stdtrit(df, np.array([0.025, 0.05, 0.95, 0.975]))
    # A strong acceleration could turn the denominator negative and the interval around.
    levels_4 = ndtr(bias + shift_4 / np.maximum(1 - acceleration * shift_4, 0.05))
    low, lower, upper, high = (float(q) for q in np.quantile(draws_B, levels_4))
    return Interval(value, low, high, lower, upper, float(draws_B.std(ddof=1)), p_value)
