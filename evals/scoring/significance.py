"""Claims and their cost: the sign test, Holm's adjustment for several benchmarks, and power (which
differences a comparison can find, and how many questions it takes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist


def sign_test(wins: int, losses: int) -> float:
    """The p-value of the exact two-sided sign test; 1 where nothing changed.

    Were both systems equally good, each image that changed would be as likely to get better as
    worse. The p-value is the chance of a split at least as uneven among wins + losses coin tosses;
    images without a change are left out.

    8 better, 2 worse: 2 * (C(10, 0) + C(10, 1) + C(10, 2)) / 2^10 = 2 * 56 / 1024.

    >>> round(sign_test(8, 2), 6)
    0.109375
    """
    n, fewer = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    # By logarithms, since 2**n overflows a float beyond n = 1023.
    log_half = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, log_half)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: with them, the chance that any of the claims "p < 0.05" is false is
    at most 5 %, whatever the dependence between the tests.

    Of m p-values the smallest is multiplied by m, the next by m - 1, and so on; none may be smaller
    than the one before it. Source: Holm, Scandinavian Journal of Statistics 6 (1979).

    0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, raised to 0.06:

    >>> holm({"mme": 0.01, "pope": 0.04, "gqa": 0.03})
    {'mme': 0.03, 'pope': 0.06, 'gqa': 0.06}
    """
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def minimum_detectable_effect(stderr: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference that a two-sided test at `alpha` would find with this power, in the units
    of `stderr`: (z of 1 - alpha/2 + z of the power) * stderr.

    (1.96 + 0.84) * 0.01: with a standard error of one point, a true change of 2.8 points is found
    in four of five evaluations.

    >>> round(minimum_detectable_effect(0.01), 4)
    0.028
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * stderr


def questions_needed(
    variance: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """How many questions rule out a drop of `margin` with this power if the true change is 0, by a
    one-sided test at `alpha`: (z of 1 - alpha + z of the power)^2 * variance / margin^2.

    `variance` is that of one question's paired difference. Where 12 % of the questions change
    sides, each by 1, it is 0.12; for 2 points, (1.645 + 0.842)^2 * 0.12 / 0.02^2:

    >>> questions_needed(0.12, 0.02)
    1855
    """
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    return math.ceil(z * z * variance / (margin * margin))
