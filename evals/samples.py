"""Several answers to one question: the mean over them, pass@k, and what the majority says. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from evals.base import Benchmark, ItemScore

Row = Mapping[str, Any]
_RIGHT = 1.0  # a graded answer counts as right for pass@k at full marks


def answer_rows(row: Row) -> list[Row]:
    """A row for each answer; the row itself where there is one."""
    if row.get("error") or not row.get("samples"):
        return [row]
    whole = {k: v for k, v in row.items() if k not in ("samples", "is_truncated", "reasoning")}
    return [{**whole, **answer} for answer in row["samples"]]


def score_row(benchmark: Benchmark, row: Row, profile: str = "official") -> ItemScore:
    """The row's score: the mean over its answers; status and what was read are the majority's."""
    scores = [benchmark.score(one, profile) for one in answer_rows(row)]
    if len(scores) == 1:
        return scores[0]
    values = [score.score for score in scores if score.score is not None]
    voted = majority(benchmark, scores)
    tallies = [score.tally for score in scores if score.score is not None]
    return ItemScore(
        statistics.fmean(values) if values else None,
        voted.status,
        voted.parsed,
        tuple(statistics.fmean(column) for column in zip(*tallies, strict=True)),
    )


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

    Source: arXiv 2107.03374 eq. 1: 1 - C(n - c, k) / C(n, k).

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.25, 0.5, 1.0)
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} answers, {correct} right")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def summary(
    benchmark: Benchmark, rows: Sequence[Row], profile: str = "official"
) -> dict[str, Any] | None:
    """What several answers a question come to; None where there is one each.

    `mean` is the benchmark's own statistic over the first answers, over the second ones, ...,
    averaged, `stdev` its spread between them; `majority` the statistic of the majority's answers;
    `pass_at` the share of questions with a right answer among k. Errors stand outside.
    """
    answers = [answer_rows(row) for row in rows]
    n = max(map(len, answers), default=1)
    if n < 2:
        return None
    scores = [[benchmark.score(one, profile) for one in each] for each in answers]
    asked = [each for each in scores if len(each) == n]
    # An error stays in its place: a benchmark pairs questions by it.
    scores = [each if len(each) == n else [ItemScore(None, "error")] * n for each in scores]

    def value(chosen: Sequence[ItemScore]) -> float:
        return benchmark.primary(benchmark.aggregate(rows, chosen, profile))

    rounds = [value([each[number] for each in scores]) for number in range(n)]
    right = [sum(score.score == _RIGHT for score in each) for each in asked]
    flat = [score for each in asked for score in each]
    return {
        "n": n,
        "mean": statistics.fmean(rounds),
        "stdev": statistics.stdev(rounds),
        "majority": value([majority(benchmark, each) for each in scores]),
        "pass_at": {
            str(k): statistics.fmean(pass_at_k(n, count, k) for count in right)
            for k in sorted({1, *(2**power for power in range(n.bit_length()) if 2**power < n), n})
        },
        "truncated_share": statistics.fmean(score.status == "truncated" for score in flat),
    }
