"""Benchmarks whose primary statistic is the mean of the items' scores: a file adds data, prompt and
the rule for one answer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from evals.base import Benchmark
from evals.data.items import ItemScore, Row, mean_of
from evals.scoring.stats import Floats, cluster_rows


class AccuracyBenchmark(Benchmark):
    """The mean score is the primary statistic; `groups` are the means beside it.

    `groups` maps a key of the metrics to the column of response rows whose values it lists; rows
    without that column stand in none of its groups.
    """

    primary_name: ClassVar[str] = "accuracy"
    groups: ClassVar[Mapping[str, str]] = {"categories": "category"}

    @abstractmethod
    def judge(self, row: Row, profile: str) -> ItemScore:
        """The rule's verdict on one response row; its profile is known and it is no error row.
        Raises: DataError where the row lacks what the rule needs.
        """

    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """`judge`'s verdict; an error row's is an error. Raises: DataError."""
        self.require_profile(profile)
        return ItemScore(None, "error") if row.get("error") else self.judge(row, profile)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The mean of the scores, and the means of the groups."""
        metrics: dict[str, Any] = {self.primary_name: mean_of(scores)}
        for key, column in self.groups.items():
            metrics[key] = group_means(rows, scores, column)
        return metrics

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """One cell: categories play no part in the statistic."""
        return ["all"]

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """A cluster's sum of scores and number of questions: [C, 2]."""
        return cell_sums(rows, scores, [0] * len(rows), 1)

    def statistic(self, totals: Floats) -> Floats:
        """The mean score."""
        accuracy: Floats = totals[..., 0] / np.maximum(totals[..., 1], 1)
        return accuracy

    def max_score(self, rows: Sequence[Row]) -> float:
        """1."""
        return 1.0


def cell_sums(
    rows: Sequence[Row],
    scores: Sequence[ItemScore],
    cells: Sequence[int | None],
    num_cells: int,
) -> tuple[list[str], Floats]:
    """Each cluster's sum of scores and number of questions, cell by cell: (cluster ids, [C, 2 x
    cells]). Errors, and rows whose cell is None, count nowhere.
    """
    rows_NK = np.zeros((len(rows), 2 * num_cells))
    for number, (score, cell) in enumerate(zip(scores, cells, strict=True)):
        if score.score is not None and cell is not None:
            rows_NK[number, 2 * cell : 2 * cell + 2] = (score.score, 1.0)
    clusters, sums_CK = cluster_rows([str(row.get("cluster_id", "")) for row in rows], rows_NK)
    return [str(cluster) for cluster in clusters], sums_CK


def group_means(rows: Sequence[Row], scores: Sequence[ItemScore], column: str) -> dict[str, float]:
    """The mean score for each value of a column, sorted; errors and rows without it left out."""
    groups: dict[str, list[ItemScore]] = {}
    for row, score in zip(rows, scores, strict=True):
        if row.get(column) is not None and score.score is not None:
            groups.setdefault(str(row[column]), []).append(score)
    return {name: mean_of(groups[name]) for name in sorted(groups)}
