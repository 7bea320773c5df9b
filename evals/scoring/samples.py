"""Scored answers, one or several a question: every figure of a benchmark is its mean over rounds.
Pure.

Round r holds the r-th answers to all questions, scored as if they were the only ones. So a
benchmark's rule, aggregate and statistic know one answer a question, and no benchmark is special.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from evals.base import Benchmark
from evals.data.items import ItemScore, mean_of
from evals.scoring.stats import Floats, Statistic
from rl.errors import DataError, EvalError

Row = Mapping[str, Any]
_RIGHT = 1.0  # a graded answer counts as right for pass@k at full marks
_ERROR = ItemScore(None, "error")


@dataclass(frozen=True)
class Scored:
    """Rows in order, with their verdicts round by round: `rounds[r][i]` is that on the r-th answer
    to question i. `scores` has one a question: the mean over its answers, what the majority read.
    """

    rows: Sequence[Row]
    rounds: Sequence[Sequence[ItemScore]]
    scores: Sequence[ItemScore]

    @classmethod
    def of(
        cls, benchmark: Benchmark, rows: Sequence[Row], answers: Sequence[Sequence[ItemScore]]
    ) -> Scored:
        """From each question's verdicts. An error row is one in every round. Raises: EvalError
        where questions have different numbers of answers.
        """
        n = max((len(each) for each in answers), default=1)
        whole: list[list[ItemScore]] = []
        for row, each in zip(rows, answers, strict=True):
            if len(each) != n and not row.get("error"):
                raise EvalError(
                    f"{len(each)} answer{'s' * (len(each) > 1)}",
                    where=f"question {row.get('sample_id', '?')}",
                    expected=f"{n}, as other questions have",
                    do="score questions with the same number of `samples` together",
                )
            whole.append(list(each) if len(each) == n else [_ERROR] * n)
        rounds = [[each[number] for each in whole] for number in range(n)]
        return cls(rows, rounds, [_merged(benchmark, each) for each in whole])

    def only(self, part: str) -> Scored:
        """The rows of one part."""
        return self.at([n for n, row in enumerate(self.rows) if row["part"] == part])

    def at(self, numbers: Sequence[int]) -> Scored:
        """The rows of these numbers, in that order."""
        return Scored(
            [self.rows[n] for n in numbers],
            [[scores[n] for n in numbers] for scores in self.rounds],
            [self.scores[n] for n in numbers],
        )

    def blanked(self, is_usable: Sequence[bool]) -> Scored:
        """The same rows, those that are not usable as errors of ours."""

        def kept(scores: Sequence[ItemScore]) -> list[ItemScore]:
            return [s if ok else _ERROR for s, ok in zip(scores, is_usable, strict=True)]

        return Scored(self.rows, [kept(scores) for scores in self.rounds], kept(self.scores))

    def over(self, rows: Sequence[Row]) -> Scored:
        """The same verdicts over other rows of the same questions."""
        return Scored(rows, self.rounds, self.scores)

    @property
    def valid(self) -> Scored:
        """Without the errors of ours."""
        return self.at([n for n, score in enumerate(self.scores) if score.score is not None])

    @property
    def values(self) -> list[float]:
        return [score.score for score in self.scores if score.score is not None]

    @property
    def scored_rounds(self) -> Sequence[Sequence[ItemScore]]:
        """The rounds that have a score: one of errors alone is no 0."""
        return [scores for scores in self.rounds if any(one.score is not None for one in scores)]

    @property
    def accuracy(self) -> float | None:
        """The mean score; None where there is no score."""
        found = self.scored_rounds
        return statistics.fmean(map(mean_of, found)) if found else None

    def metrics(self, benchmark: Benchmark, profile: str) -> dict[str, Any]:
        """The benchmark's metrics, each the mean over rounds; every figure is None where there is
        no score. Raises: DataError.
        """
        rounds = self.scored_rounds or self.rounds
        found = _mean_tree([benchmark.aggregate(self.rows, each, profile) for each in rounds])
        return dict(found if self.scored_rounds else _unknown(found))

    def value(self, benchmark: Benchmark, profile: str) -> float | None:
        """The benchmark's own statistic, the mean over rounds; None where there is no score.
        Raises: DataError.
        """
        found = _values(benchmark, self, profile)
        return statistics.fmean(found) if found else None

    def sums(self, sums_of: Callable[[Sequence[ItemScore]], Floats]) -> Floats:
        """The sufficient statistics of each round beside one another: [C, rounds x K]; of the
        rounds that have a score, where any has.
        """
        rounds = self.scored_rounds or self.rounds
        return np.concatenate([sums_of(scores) for scores in rounds], axis=1)

    def statistic(self, one: Statistic) -> Statistic:
        """The mean over rounds of a round's statistic, of totals that `sums` lays out."""

        def over_rounds(totals: Floats) -> Floats:
            num = len(self.scored_rounds or self.rounds)
            by_round = totals.reshape(*totals.shape[:-1], num, -1)
            found: Floats = one(by_round).mean(axis=-2)
            return found

        return over_rounds


def score_rows(benchmark: Benchmark, rows: Sequence[Row], profile: str = "official") -> Scored:
    """Every answer's verdict. Raises: DataError, EvalError."""
    return Scored.of(benchmark, rows, [score_answers(benchmark, row, profile) for row in rows])


def score_answers(benchmark: Benchmark, row: Row, profile: str = "official") -> list[ItemScore]:
    """The verdict on each of the row's answers. Raises: DataError."""
    return [benchmark.score(one, profile) for one in answer_rows(row)]


def answer_rows(row: Row) -> list[Row]:
    """A row for each answer; the row itself where there is one. Raises: DataError."""
    samples = row.get("samples")
    if row.get("error") or not samples:
        return [row]
    if not isinstance(samples, list) or not all(isinstance(one, Mapping) for one in samples):
        raise DataError(
            f"samples are {samples!r}"[:200],
            where=f"question {row.get('sample_id', '?')}",
            expected="a list of objects, each with a `response`",
        )
    whole = {k: v for k, v in row.items() if k not in ("samples", "is_truncated", "reasoning")}
    return [{**whole, **answer} for answer in samples]


def majority(benchmark: Benchmark, scores: Sequence[ItemScore]) -> ItemScore:
    """The score of the answer read most often, the first of equals; unread answers do not vote
    unless there are no others.
    """
    read = [s for s in scores if s.score is not None and benchmark.is_parsed(s)]
    votes = Counter(score.parsed for score in read)
    if not votes:
        return scores[0]
    most = max(votes.values())
    return next(score for score in read if votes[score.parsed] == most)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that at least one of k answers is right, when `correct` of n were: unbiased.

    Raises: ValueError where there are fewer than k answers, or more right ones than answers.
    Source: arXiv 2107.03374 eq. 1: 1 - C(n - c, k) / C(n, k).

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.25, 0.5, 1.0)
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} answers, {correct} right")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def summary(
    benchmark: Benchmark, scored: Scored, profile: str = "official"
) -> dict[str, Any] | None:
    """What several answers a question come to; None where there is one each, or no score.

    `mean` is the benchmark's own statistic over the first answers, over the second ones, ...,
    averaged, `stdev` its spread between them; `majority` the statistic of the majority's answers;
    `pass_at` the share of questions with a right answer among k. Errors stand outside.
    """
    n = len(scored.rounds)
    rounds = _values(benchmark, scored, profile)
    if n < 2 or not rounds:
        return None
    answers = [[scores[i] for scores in scored.rounds] for i in range(len(scored.rows))]
    voted = [majority(benchmark, each) for each in answers]
    whole = [each for each in answers if all(score.score is not None for score in each)]
    right = [sum(score.score == _RIGHT for score in each) for each in whole]
    flat = [score for each in answers for score in each if score.score is not None]
    return {
        "n": n,
        "mean": statistics.fmean(rounds),
        "stdev": statistics.stdev(rounds) if len(rounds) > 1 else None,
        "majority": benchmark.primary(benchmark.aggregate(scored.rows, voted, profile)),
        "pass_at": {
            str(k): mean(pass_at_k(n, count, k) for count in right)
            for k in sorted({1, *(2**power for power in range(n.bit_length()) if 2**power < n), n})
            if right
        },
        "truncated_share": mean(score.status == "truncated" for score in flat),
    }


def mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing."""
    found = list(values)
    return statistics.fmean(found) if found else 0.0


def _merged(benchmark: Benchmark, scores: Sequence[ItemScore]) -> ItemScore:
    if len(scores) == 1:
        return scores[0]
    values = [score.score for score in scores if score.score is not None]
    voted = majority(benchmark, scores)
    return ItemScore(statistics.fmean(values) if values else None, voted.status, voted.parsed)


def _values(benchmark: Benchmark, scored: Scored, profile: str) -> list[float]:
    found = [benchmark.aggregate(scored.rows, scores, profile) for scores in scored.scored_rounds]
    # A primary statistic without any question of its own is None: MMBench of rotations alone.
    told = [metrics for metrics in found if metrics.get(benchmark.primary_name, 0) is not None]
    return [benchmark.primary(metrics) for metrics in told]


def _unknown(found: Any) -> Any:
    """The same keys, no figures."""
    return {k: _unknown(v) for k, v in found.items()} if isinstance(found, Mapping) else None


def _mean_tree(found: Sequence[Any]) -> Any:
    """Numbers become their mean, mappings key by key (None and absent ones left out); what is
    neither is the first's.
    """
    if len(found) == 1:
        return found[0]
    given = [value for value in found if value is not None]
    if given and all(isinstance(value, Mapping) for value in given):
        keys = dict.fromkeys(key for value in given for key in value)
        return {key: _mean_tree([v[key] for v in given if key in v]) for key in keys}
    if given and all(isinstance(value, int | float) for value in given):
        return statistics.fmean(given)
    return given[0] if given else None
