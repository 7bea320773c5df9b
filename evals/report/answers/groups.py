"""One benchmark's questions by category or kind: shares right, and what changed between stages.

A skill is better or worse by its content: in a category whose score rose only because answers lost
the words around them, the model did not become better.

Shapes: N questions, C clusters (images), K columns that are summed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evals.report.answers.answer import Question, shared
from evals.report.answers.shift import Shift
from evals.report.records import Category, Interval
from evals.scoring.stats import Floats, bootstrap, cluster_rows, paired_bootstrap

_RESAMPLES = 2_000


@dataclass(frozen=True)
class Share:
    """One stage on one category: its score and its content, each with its 95 % interval."""

    n: int
    accuracy: float
    interval: Interval
    content: float
    content_interval: Interval

    @property
    def as_category(self) -> Category:
        """The score alone, in the form of a category in result.json."""
        return Category(n=self.n, accuracy=self.accuracy, interval=self.interval)


@dataclass(frozen=True)
class Tally:
    """One category between two stages: (before, now) of the mean score and of the mean content, and
    how many questions rose and fell in content. `shift` where the questions are yes or no.
    """

    n: int
    score: tuple[float, float]
    content: tuple[float, float]
    won: int
    lost: int
    shift: Shift | None = None

    @property
    def is_content_apart(self) -> bool:
        """Whether score and content differ."""
        return any(abs(s - c) >= 5e-4 for s, c in zip(self.score, self.content, strict=True))


def tallies(questions: Sequence[Question], now: int, before: int) -> dict[str, Tally]:
    """By category, how the questions that both stages answered changed."""
    by_category: dict[str, list[Any]] = {}
    for pair in shared(questions, now, before):
        by_category.setdefault(pair[0].category, []).append(pair)
    return {
        category: Tally(
            n=len(pairs),
            score=(
                sum(old.score or 0.0 for _, old, _ in pairs) / len(pairs),
                sum(new.score or 0.0 for _, _, new in pairs) / len(pairs),
            ),
            content=(
                sum(old.states for _, old, _ in pairs) / len(pairs),
                sum(new.states for _, _, new in pairs) / len(pairs),
            ),
            won=sum(new.states > old.states for _, old, new in pairs),
            lost=sum(new.states < old.states for _, old, new in pairs),
            shift=Shift.of(pairs),
        )
        for category, pairs in sorted(by_category.items())
    }


def baselines(questions: Sequence[Question]) -> dict[str, tuple[str, float]]:
    """By category, the most frequent right answer and the share of questions that it is right on:
    the accuracy of always giving it.
    """
    wanted: dict[str, Counter[str]] = {}
    for question in questions:
        wanted.setdefault(question.category, Counter())[question.wanted.strip()] += 1
    found = {}
    for category, answers in wanted.items():
        common = min(answers, key=lambda answer: (-answers[answer], answer != "Yes", answer))
        found[category] = (common, answers[common] / answers.total())
    return found


def shares(questions: Sequence[Question], columns: int) -> list[dict[str, Share]]:
    """Each stage's shares by category. All of them use the same bootstrap over images."""
    categories = sorted({question.category for question in questions})
    index = {category: number for number, category in enumerate(categories)}
    cells = columns * len(categories)
    # A row per question, three blocks of columns: scores, contents, and 1 where it was answered.
    rows_NK = np.zeros((len(questions), 3 * cells))
    for number, question in enumerate(questions):
        for column, answer in enumerate(question.answers):
            if answer is not None and answer.score is not None:
                cell = column * len(categories) + index[question.category]
                rows_NK[number, cell] = answer.score
                rows_NK[number, cells + cell] = answer.states
                rows_NK[number, 2 * cells + cell] = 1.0
    if not cells or not len(rows_NK):
        return [{} for _ in range(columns)]
    counts_K = rows_NK[:, 2 * cells :].sum(axis=0)

    def means(totals: Floats) -> Floats:
        both = totals[..., : 2 * cells].reshape(*totals.shape[:-1], 2, cells)
        found: Floats = both / np.maximum(totals[..., None, 2 * cells :], 1)
        return found.reshape(*totals.shape[:-1], 2 * cells)

    _, sums_CK = cluster_rows([question.cluster for question in questions], rows_NK)
    estimates = bootstrap(sums_CK, means, resamples=_RESAMPLES)
    out: list[dict[str, Share]] = []
    for column in range(columns):
        mine = {}
        for category, at in index.items():
            cell = column * len(categories) + at
            score, content = estimates[cell], estimates[cells + cell]
            if counts_K[cell]:
                mine[category] = Share(
                    int(counts_K[cell]),
                    score.value,
                    (score.low, score.high),
                    content.value,
                    (content.low, content.high),
                )
        out.append(mine)
    return out


def content_intervals(
    questions: Sequence[Question], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Interval]:
    """The paired 95 % intervals of differences in content, by (now, before). All of them use the
    same bootstrap over images.
    """
    if not pairs or not questions:
        return {}
    sides = [np.zeros((len(questions), 2 * len(pairs))) for _ in range(2)]
    for number, question in enumerate(questions):
        for at, (now, before) in enumerate(pairs):
            answers = (question.answers[now], question.answers[before])
            for rows_NK, answer in zip(sides, answers, strict=True):
                if all(one is not None and one.score is not None for one in answers):
                    assert answer is not None
                    rows_NK[number, 2 * at : 2 * at + 2] = (answer.states, 1.0)
    clusters = [question.cluster for question in questions]
    ours_CK, theirs_CK = (cluster_rows(clusters, rows_NK)[1] for rows_NK in sides)

    def means(totals: Floats) -> Floats:
        found: Floats = totals[..., 0::2] / np.maximum(totals[..., 1::2], 1)
        return found

    estimates = paired_bootstrap(ours_CK, theirs_CK, means, resamples=_RESAMPLES)
    return {key: (one.low, one.high) for key, one in zip(pairs, estimates, strict=True)}


def as_dicts(found: Mapping[str, Any]) -> dict[str, Any]:
    """The form in which tallies and shares are kept between two reports."""
    return {category: asdict(one) for category, one in found.items()}


def tallies_from(value: Mapping[str, Any] | None) -> dict[str, Tally]:
    """The reverse of `as_dicts`, of tallies."""
    return {
        category: Tally(
            n=kept["n"],
            score=_pair(kept["score"]),
            content=_pair(kept["content"]),
            won=kept["won"],
            lost=kept["lost"],
            shift=None if kept["shift"] is None else Shift(**kept["shift"]),
        )
        for category, kept in (value or {}).items()
    }


def shares_from(value: Mapping[str, Any] | None) -> dict[str, Share]:
    """The reverse of `as_dicts`, of shares."""
    return {
        category: Share(
            kept["n"],
            kept["accuracy"],
            _pair(kept["interval"]),
            kept["content"],
            _pair(kept["content_interval"]),
        )
        for category, kept in (value or {}).items()
    }


def _pair(value: Iterable[float]) -> tuple[float, float]:
    first, second = value
    return (first, second)
