"""Scored answers, one or several a question (`evals.benchmarks[].n`).

A benchmark's rule, aggregate and statistic are written for one answer a question. With n answers
the r-th answers to all questions form round r, which is scored as if they were the only ones. Every
figure is the mean over rounds: the average of what n single evaluations would have said. So no
benchmark needs code for several answers, also where its statistic is no plain mean of questions
(MME's pairs, POPE's F1).

    answer rows    q1: [Yes, No]   q2: [Yes, Yes]     references: Yes, Yes
    round 0        q1 Yes  1       q2 Yes  1          accuracy 1.0
    round 1        q1 No   0       q2 Yes  1          accuracy 0.5
    reported                                          accuracy 0.75

Nothing here reads a file or asks a model.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from evals.base import Benchmark
from evals.data.items import ItemScore, mean_of
from evals.scoring.stats import Floats, Statistic
from rl.errors import DataError, EvalError

Row = Mapping[str, Any]
_RIGHT = 1.0  # for pass@k, an answer with a graded score is right only at full marks
_ERROR = ItemScore(None, "error")


@dataclass(frozen=True)
class Scored:
    """Rows with their verdicts.

    `rounds[r][i]` is the verdict on the r-th answer to question i. `scores[i]` sums question i up:
    the mean score over its answers, with the status and reading of the majority's answer.

        scored = score_rows(get_benchmark("mme"), rows)
        scored.only("report").valid.values          # the scores of one part, without our errors
        scored.value(benchmark, "official")         # the benchmark's own statistic
    """

    rows: Sequence[Row]
    rounds: Sequence[Sequence[ItemScore]]
    scores: Sequence[ItemScore]

    @classmethod
    def of(
        cls, benchmark: Benchmark, rows: Sequence[Row], answers: Sequence[Sequence[ItemScore]]
    ) -> Scored:
        """From each question's verdicts. An error row counts as an error in every round. Raises:
        EvalError where questions have different numbers of answers.
        """
        n = max((len(each) for each in answers), default=1)
        by_question: list[list[ItemScore]] = []
        for row, each in zip(rows, answers, strict=True):
            if len(each) != n and not row.get("error"):
                raise EvalError(
                    f"{len(each):,} answer{'s' * (len(each) > 1)}",
                    where=f"question {row.get('sample_id', '?')}",
                    expected=f"{n:,}, as other questions have",
                    do="score questions with the same number of `samples` together",
                )
            by_question.append(list(each) if len(each) == n else [_ERROR] * n)
        rounds = [[each[number] for each in by_question] for number in range(n)]
        return cls(rows, rounds, [_merged(benchmark, each) for each in by_question])

    def only(self, part: str) -> Scored:
        """The rows of one part."""
        return self.at([n for n, row in enumerate(self.rows) if row["part"] == part])

    def at(self, numbers: Sequence[int]) -> Scored:
        """The rows at these indices, in that order."""
        return Scored(
            [self.rows[n] for n in numbers],
            [[scores[n] for n in numbers] for scores in self.rounds],
            [self.scores[n] for n in numbers],
        )

    def blanked(self, is_usable: Sequence[bool]) -> Scored:
        """The same rows, with an error in place of every verdict on a row that is not usable."""

        def kept(scores: Sequence[ItemScore]) -> list[ItemScore]:
            return [s if ok else _ERROR for s, ok in zip(scores, is_usable, strict=True)]

        return Scored(self.rows, [kept(scores) for scores in self.rounds], kept(self.scores))

    def over(self, rows: Sequence[Row]) -> Scored:
        """The same verdicts with other rows of the same questions."""
        return Scored(rows, self.rounds, self.scores)

    @property
    def valid(self) -> Scored:
        """Without the questions that have no score because our side failed."""
        return self.at([n for n, score in enumerate(self.scores) if score.score is not None])

    @property
    def values(self) -> list[float]:
        """The questions' scores, errors left out."""
        return [score.score for score in self.scores if score.score is not None]

    @property
    def scored_rounds(self) -> Sequence[Sequence[ItemScore]]:
        """The rounds that have a score. A round of errors alone has no mean and counts nowhere."""
        return [scores for scores in self.rounds if any(one.score is not None for one in scores)]

    @property
    def accuracy(self) -> float | None:
        """The mean score; None where there is no score."""
        means = [mean for scores in self.rounds if (mean := mean_of(scores)) is not None]
        return statistics.fmean(means) if means else None

    def metrics(self, benchmark: Benchmark, profile: str) -> dict[str, Any]:
        """The benchmark's metrics, each the mean over rounds; every figure is None where there is
        no score. Raises: DataError.
        """
        rounds = self.scored_rounds or self.rounds
        metrics = _mean_tree([benchmark.aggregate(self.rows, each, profile) for each in rounds])
        return dict(metrics if self.scored_rounds else _all_none(metrics))

    def value(self, benchmark: Benchmark, profile: str) -> float | None:
        """The benchmark's own statistic, the mean over rounds; None where there is no score.
        Raises: DataError.
        """
        by_round = _values(benchmark, self, profile)
        return statistics.fmean(by_round) if by_round else None

    def sums(self, sums_of: Callable[[Sequence[ItemScore]], Floats]) -> Floats:
        """Each cluster's sufficient statistics, the rounds side by side: [C, rounds x K]. Rounds
        without a score are left out, unless none has one. `sums_of` gives one round's [C, K].
        """
        rounds = self.scored_rounds or self.rounds
        return np.concatenate([sums_of(scores) for scores in rounds], axis=1)

    def statistic(self, one: Statistic) -> Statistic:
        """Turns the statistic of one round into the mean over rounds, as a function of the totals
        that `sums` lays out: [..., rounds x K] -> [..., S].
        """

        def over_rounds(totals: Floats) -> Floats:
            num = len(self.scored_rounds or self.rounds)
            by_round = totals.reshape(*totals.shape[:-1], num, -1)
            mean: Floats = one(by_round).mean(axis=-2)
            return mean

        return over_rounds


def score_rows(benchmark: Benchmark, rows: Sequence[Row], profile: str = "official") -> Scored:
    """Scores stored rows. Raises: DataError where a row lacks what the rule needs, EvalError where
    questions have different numbers of answers.
    """
    return Scored.of(benchmark, rows, [score_answers(benchmark, row, profile) for row in rows])


def score_answers(benchmark: Benchmark, row: Row, profile: str = "official") -> list[ItemScore]:
    """The verdict on each of the row's answers. Raises: DataError."""
    return [benchmark.score(one, profile) for one in answer_rows(row)]


def answer_rows(row: Row) -> list[Row]:
    """A row for each of a question's answers; the row itself where it has one. Raises: DataError.

    >>> answer_rows({"sample_id": "a", "samples": [{"response": "Yes"}, {"response": "No"}]})
    [{'sample_id': 'a', 'response': 'Yes'}, {'sample_id': 'a', 'response': 'No'}]
    """
    samples = row.get("samples")
    if row.get("error") or not samples:
        return [row]
    if not isinstance(samples, list) or not all(isinstance(one, Mapping) for one in samples):
        raise DataError(
            f"samples are {samples!r}"[:200],
            where=f"question {row.get('sample_id', '?')}",
            expected="a list of objects, each with a `response`",
        )
    shared = {k: v for k, v in row.items() if k not in ("samples", "is_truncated", "reasoning")}
    return [{**shared, **answer} for answer in samples]


def majority(benchmark: Benchmark, scores: Sequence[ItemScore]) -> ItemScore:
    """The verdict on the answer that was read most often; of equally frequent ones the first.
    Answers that could not be read do not vote, unless no answer could.
    """
    read = [s for s in scores if s.score is not None and benchmark.is_parsed(s)]
    votes = Counter(score.parsed for score in read)
    if not votes:
        return scores[0]
    most = max(votes.values())
    return next(score for score in read if votes[score.parsed] == most)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that at least one of k answers is right, estimated without bias from n answers of
    which `correct` were: 1 minus the share of the k-subsets of the n that hold no right answer.

    Source: arXiv 2107.03374 eq. 1: 1 - C(n - c, k) / C(n, k). Raises: ValueError where there are
    fewer than k answers, or more right ones than answers.

    4 answers, 1 right: C(3, 2) = 3 of the C(4, 2) = 6 pairs hold no right one, so pass@2 is 1/2.

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.25, 0.5, 1.0)
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} answers, {correct} right")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def summary(
    benchmark: Benchmark, scored: Scored, profile: str = "official"
) -> dict[str, Any] | None:
    """The figures that only several answers a question give; None with one answer each, or without
    any score.

    `mean` is the benchmark's own statistic averaged over rounds, and `stdev` its standard deviation
    between them. `majority` is the statistic of each question's majority answer. `pass_at` k is the
    share of questions with a right answer among k (`pass_at_k`). Errors are left out.
    """
    n = len(scored.rounds)
    rounds = _values(benchmark, scored, profile)
    if n < 2 or not rounds:
        return None
    answers = [[scores[i] for scores in scored.rounds] for i in range(len(scored.rows))]
    voted = [majority(benchmark, each) for each in answers]
    without_error = [each for each in answers if all(score.score is not None for score in each)]
    right = [sum(score.score == _RIGHT for score in each) for each in without_error]
    flat = [score for each in answers for score in each if score.score is not None]
    return {
        "n": n,
        "mean": statistics.fmean(rounds),
        "stdev": statistics.stdev(rounds) if len(rounds) > 1 else None,
        "majority": _primary(benchmark, scored.rows, voted, profile),
        "pass_at": {
            str(k): statistics.fmean(pass_at_k(n, count, k) for count in right)
            # 1, 2, 4, 8, ... below n, and n itself
            for k in sorted({1, *(2**power for power in range(n.bit_length()) if 2**power < n), n})
            if right
        },
        "truncated_share": statistics.fmean(score.status == "truncated" for score in flat),
    }


def _merged(benchmark: Benchmark, scores: Sequence[ItemScore]) -> ItemScore:
    if len(scores) == 1:
        return scores[0]
    values = [score.score for score in scores if score.score is not None]
    voted = majority(benchmark, scores)
    return ItemScore(statistics.fmean(values) if values else None, voted.status, voted.parsed)


def _values(benchmark: Benchmark, scored: Scored, profile: str) -> list[float]:
    """The primary statistic of each round that has one."""
    by_round = [_primary(benchmark, scored.rows, each, profile) for each in scored.scored_rounds]
    return [value for value in by_round if value is not None]


def _primary(
    benchmark: Benchmark, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str
) -> float | None:
    """The primary statistic of these scores. It is None where it has no question of its own, as
    MMBench's has none on rows that are all rotations.
    """
    metrics = benchmark.aggregate(rows, scores, profile)
    is_none = metrics.get(benchmark.primary_name, 0) is None
    return None if is_none else benchmark.primary(metrics)


def _all_none(tree: Any) -> Any:
    """The same keys without figures."""
    return {k: _all_none(v) for k, v in tree.items()} if isinstance(tree, Mapping) else None


def _mean_tree(trees: Sequence[Any]) -> Any:
    """The mean of nested metrics, key by key. None and absent values are left out; what is no
    number is taken from the first tree.

    >>> _mean_tree([{"accuracy": 1.0, "rule": "x"}, {"accuracy": 0.5, "rule": "x"}])
    {'accuracy': 0.75, 'rule': 'x'}
    """
    if len(trees) == 1:
        return trees[0]
    present = [tree for tree in trees if tree is not None]
    if present and all(isinstance(tree, Mapping) for tree in present):
        keys = dict.fromkeys(key for tree in present for key in tree)
        return {key: _mean_tree([tree[key] for tree in present if key in tree]) for key in keys}
    if present and all(isinstance(tree, int | float) for tree in present):
        return statistics.fmean(present)
    return present[0] if present else None
