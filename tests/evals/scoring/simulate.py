"""How the statistics and the gate behave where the truth is known; prints docs/statistics.md's
tables.

    python -m tests.evals.scoring.simulate

The functions of `evals` are called as they are. A simulation is one column of a stacked statistic,
so 2,000 of them share the resamples, as two stages of a run do. Letters: S simulations, C clusters,
M questions of a cluster at most, K sufficient statistics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr
from scipy.stats import kstest

from evals.benchmarks.mme import MME
from evals.decisions.gate import GateConfig, decide
from evals.scoring.stats import Floats, Interval, bootstrap, paired_bootstrap

SIMULATIONS, RESAMPLES = 2000, 2000
LARGEST = 7  # questions an image, from 1 on, evenly likely
_EASE, _ITEM, _NOISE = 1.0, 0.7, 0.7  # standard deviations: of an image, a question, an answer


@dataclass(frozen=True)
class Case:
    """Two systems of equal strength on clustered questions. `draw(rng, C, ease)` gives both
    systems' sums [S, C, K] and the true value.
    """

    name: str
    draw: Callable[[np.random.Generator, int, float], tuple[Floats, Floats, float]]
    statistic: Callable[[Floats], Floats]
    ease: float
    num_strata: int = 1


def ratio(totals: Floats) -> Floats:
    """An accuracy: sum of scores over questions."""
    return totals[..., 0] / np.maximum(totals[..., 1], 1)


def f1(totals: Floats) -> Floats:
    """POPE's F1 of true positives, false positives and false negatives."""
    hits, false, missed = np.moveaxis(totals, -1, 0)
    return 2 * hits / np.maximum(2 * hits + false + missed, 1e-9)


def _right(rng: np.random.Generator, clusters: int, ease: float, size: int) -> Any:
    """Two systems' right answers [S, C, M] with the ease of image and question in common."""
    shape = (SIMULATIONS, clusters, size)
    shared = rng.normal(ease, _EASE, (*shape[:2], 1)) + rng.normal(0, _ITEM, shape)
    return [shared + rng.normal(0, _NOISE, shape) > 0 for _ in range(2)]


def _asked(rng: np.random.Generator, clusters: int) -> Any:
    sizes = rng.integers(1, LARGEST + 1, (SIMULATIONS, clusters, 1))
    return np.arange(LARGEST) < sizes


def _share(ease: float) -> float:
    return float(ndtr(ease / math.sqrt(_EASE**2 + _ITEM**2 + _NOISE**2)))


def accuracy(rng: np.random.Generator, clusters: int, ease: float) -> tuple[Floats, Floats, float]:
    """Scores of 0 and 1."""
    asked = _asked(rng, clusters)
    found = [
        np.stack([(right & asked).sum(-1), asked.sum(-1)], -1).astype(float)
        for right in _right(rng, clusters, ease, LARGEST)
    ]
    return found[0], found[1], _share(ease)


def soft(rng: np.random.Generator, clusters: int, ease: float) -> tuple[Floats, Floats, float]:
    """Soft accuracy: a right answer is worth 0.3, 0.6, 0.9 or 1."""
    asked = _asked(rng, clusters)
    worth = np.array([0.3, 0.6, 0.9, 1.0, 1.0, 1.0])
    value = worth[rng.integers(0, len(worth), asked.shape)]
    found = [
        np.stack([(right * value * asked).sum(-1), asked.sum(-1)], -1)
        for right in _right(rng, clusters, ease, LARGEST)
    ]
    return found[0], found[1], _share(ease) * float(worth.mean())


def pope(rng: np.random.Generator, clusters: int, ease: float) -> tuple[Floats, Floats, float]:
    """True positives, false positives, false negatives; half of the questions ask for a yes."""
    asked = _asked(rng, clusters)
    is_yes = rng.random(asked.shape) < 0.5
    found = []
    for right in _right(rng, clusters, ease, LARGEST):
        says_yes = right == is_yes
        cells = (says_yes & is_yes, says_yes & ~is_yes, ~says_yes & is_yes)
        found.append(np.stack([(cell & asked).sum(-1) for cell in cells], -1).astype(float))
    share = _share(ease)
    return found[0], found[1], share / (share + (1 - share))


MME_CATEGORIES = 4


def mme(rng: np.random.Generator, clusters: int, ease: float) -> tuple[Floats, Floats, float]:
    """MME's sums: two questions an image, four categories, the sum of acc and acc+."""
    category = np.arange(clusters) % MME_CATEGORIES
    found = []
    for right in _right(rng, clusters, ease, 2):
        sums = np.zeros((SIMULATIONS, clusters, 4 * MME_CATEGORIES))
        for name in range(MME_CATEGORIES):
            here = category == name
            pair = right[:, here]
            cells = (pair.sum(-1), 2, pair.all(-1), 1)
            for at, cell in enumerate(cells):
                sums[:, here, 4 * name + at] = cell
        found.append(sums)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    both = ndtr((ease + _EASE * nodes) / math.hypot(_ITEM, _NOISE)) ** 2
    acc_plus = float((weights * both).sum() / weights.sum())
    return found[0], found[1], 100 * MME_CATEGORIES * (_share(ease) + acc_plus)


CASES = (
    Case("accuracy 0.50", accuracy, ratio, 0.0),
    Case("accuracy 0.72", accuracy, ratio, 0.8),
    Case("accuracy 0.86", accuracy, ratio, 1.5),
    Case("accuracy 0.96", accuracy, ratio, 2.5),
    Case("soft accuracy 0.57", soft, ratio, 0.8),
    Case("POPE's F1 0.72", pope, f1, 0.8),
    Case("MME's total, acc 0.72", mme, MME().statistic, 0.8, MME_CATEGORIES),
)


@dataclass(frozen=True)
class Figures:
    """Shares of simulations: in which an interval held the truth, in which p was below 0.05."""

    covered: float
    covered_difference: float
    ks_distance: float
    ks_p: float
    below_5_percent: float


def measure(case: Case, clusters: int, seed: int = 0) -> Figures:
    """2,000 simulations of one system's interval and of the difference of two equal systems."""
    ours, theirs, truth = case.draw(np.random.default_rng(seed), clusters, case.ease)
    strata = [number % case.num_strata for number in range(clusters)]
    options: dict[str, Any] = {"strata": strata, "resamples": RESAMPLES}
    stacked = [np.moveaxis(sums, 0, 1).reshape(clusters, -1) for sums in (ours, theirs)]
    width = ours.shape[-1]

    def statistic(totals: Floats) -> Floats:
        return case.statistic(totals.reshape(*totals.shape[:-1], -1, width))

    alone = bootstrap(stacked[0], statistic, **options)
    paired = paired_bootstrap(*stacked, statistic, **options)
    p_values = np.array([found.p_value for found in paired])
    ks = kstest(p_values, "uniform")
    return Figures(
        covered=_covered(alone, truth),
        covered_difference=_covered(paired, 0.0),
        ks_distance=float(ks.statistic),
        ks_p=float(ks.pvalue),
        below_5_percent=float((p_values < 0.05).mean()),
    )


def _covered(found: list[Interval], truth: float) -> float:
    slack = 1e-9 * max(1.0, abs(truth))
    return float(np.mean([i.low - slack <= truth <= i.high + slack for i in found]))


# -- the gate

GATE_SIMULATIONS = 1000
RIGHT, DISCORDANT = 0.7, 0.12


def gate_verdicts(questions: int, drop: float, seed: int = 0) -> dict[str, float]:
    """Shares of pass, warn and fail where the true drop is `drop` (a share), 2 % allowed, and 12 %
    of the questions change sides. Two questions an image; their changes depend on one another.
    """
    rng = np.random.default_rng(seed)
    clusters = questions // 2
    shape = (GATE_SIMULATIONS, clusters, 2)
    before = rng.random(shape) < RIGHT
    # Half of the images see half of the mean rate of changes, the others one and a half of it.
    pace = rng.choice([0.5, 1.5], (GATE_SIMULATIONS, clusters, 1))
    lost = (DISCORDANT + drop) / 2 / RIGHT * pace
    won = (DISCORDANT - drop) / 2 / (1 - RIGHT) * pace
    after = np.where(before, rng.random(shape) >= lost, rng.random(shape) < won)

    def sums(right: Any) -> Floats:
        rows = np.stack([right.sum(-1), np.full(right.shape[:2], 2)], -1).astype(float)
        return np.moveaxis(rows, 0, 1).reshape(clusters, -1)

    def statistic(totals: Floats) -> Floats:
        return ratio(totals.reshape(*totals.shape[:-1], -1, 2))

    found = paired_bootstrap(sums(after), sums(before), statistic, resamples=1000)
    config = GateConfig()
    verdicts = [_verdict(interval, config, questions) for interval in found]
    return {name: verdicts.count(name) / len(verdicts) for name in ("pass", "warn", "fail")}


def _verdict(found: Interval, config: GateConfig, questions: int) -> str:
    compared = {
        "difference": found.value,
        "lower_bound": found.lower_bound,
        "upper_bound": found.upper_bound,
        "stderr": found.stderr,
        "decomposition": {"parse_rate": [1.0, 1.0]},
    }
    against = {"parent": {"stage": "sft", "select": compared}}
    return decide(against, max_score=1.0, config=config, num_questions=questions).verdict


def main() -> None:
    """Prints both tables as Markdown."""
    started = time.perf_counter()
    print("| statistic | images | interval covers | difference covers | KS D | KS p | p < 0.05 |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        for clusters in (12, 20, 40, 100, 300):
            f = measure(case, clusters)
            print(
                f"| {case.name} | {clusters} | {f.covered:.3f} | {f.covered_difference:.3f} | "
                f"{f.ks_distance:.3f} | {f.ks_p:.2g} | {f.below_5_percent:.3f} |",
                flush=True,
            )
    print("\n| questions | true change | pass | warn | fail |\n|---|---|---|---|---|")
    for questions in (300, 1000, 2000, 5000):
        for drop in (-0.02, 0.0, 0.01, 0.02, 0.03, 0.04, 0.06):
            shares = gate_verdicts(questions, drop)
            cells = " | ".join(f"{shares[name]:.3f}" for name in ("pass", "warn", "fail"))
            print(f"| {questions} | {round(-100 * drop):+d} points | {cells} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
