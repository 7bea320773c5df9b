"""The arithmetic of the comparison with other libraries: samples per second of one run, and the
ratio of two systems over several rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SKIPPED_STEPS = 3  # the first steps allocate memory and fill caches


@dataclass(frozen=True)
class Ratio:
    """The ratio of two systems: the median of the rounds' ratios, and the smallest and largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def samples_per_second(
    step_seconds: Sequence[float], samples_per_step: int, once_s: float = 0.0
) -> float:
    """Samples per second of the steps after the third.

    step_seconds: the seconds of every step of the run, the first ones included.
    once_s: seconds spent before the first step on all samples of the run, for example on the
        log-probs of the reference. The steps that are counted bear their share of it.
    Raises: ValueError if no step is left to count.

    Two steps of 8 samples are counted, and each bears a fifth of the second spent before:

    >>> samples_per_second([9.0, 9.0, 9.0, 0.5, 0.7], samples_per_step=8, once_s=1.0)
    10.0
    """
    counted = step_seconds[SKIPPED_STEPS:]
    if not counted:
        raise ValueError(f"{len(step_seconds)} steps: more than {SKIPPED_STEPS} are needed")
    share = once_s * len(counted) / len(step_seconds)
    return samples_per_step * len(counted) / (sum(counted) + share)


def ratio_over_rounds(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times as fast `ours` is as `theirs`, from the samples per second of each round.

    Each round gives one ratio, of two runs that were neighbours in time. A machine that slows down
    between rounds then slows both sides of a ratio, which the ratio of two medians would not show.

    >>> str(ratio_over_rounds([10.0, 6.0, 9.0], [10.0, 5.0, 6.0]))
    '1.20 (1.00 to 1.50)'
    """
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))
