"""Benchmarks whose primary statistic is the mean of the questions' scores. Most benchmarks are:
a file of one adds its data, its prompt and the rule for one answer (`judge`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from evals.base import Benchmark
from evals.data.items import ItemScore, Row, cluster_id_of, mean_of
from evals.scoring.stats import Floats, cluster_rows


class AccuracyBenchmark(Benchmark):
    """A benchmark whose primary statistic is the mean score.

    A subclass gives what `Benchmark` lists under *must give*, except `score`, `aggregate`, `sums`,
    `statistic` and `max_score`, which are here; instead it gives `judge`, the verdict on one
    answer. `groups` adds means by a column of the response rows: {"categories": "category"} makes
    `metrics["categories"]`, with one mean for each category. A row without the column is in no
    group.

        class Colours(AccuracyBenchmark):
            ...                              # the card, `prompt` and `item`: see `evals.base`
            groups = {"rooms": "room"}       # also the mean of each room

            def judge(self, row, profile):
                said = response_text(row, self.id)
                return verdict(row, float(said in reference_texts(row, self.id)), said)
    """

    primary_name: ClassVar[str] = "accuracy"
    groups: ClassVar[Mapping[str, str]] = {"categories": "category"}

    @abstractmethod
    def judge(self, row: Row, profile: str) -> ItemScore:
        """The verdict on one response row. The row is no error row, and the profile is one of
        `profiles`. Raises: DataError where the row lacks what the rule needs.
        """

    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """The verdict of `judge`; of an error row, an error. Raises: DataError."""
        self.require_profile(profile)
        return ItemScore(None, "error") if row.get("error") else self.judge(row, profile)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The mean of the scores (None without any), and the means of the groups."""
        metrics: dict[str, Any] = {self.primary_name: mean_of(scores)}
        for key, column in self.groups.items():
            metrics[key] = group_means(rows, scores, column)
        return metrics

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """One cell: the mean over all questions does not depend on their categories."""
        return ["all"]

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """A cluster's sum of scores and number of questions: [C, 2]."""
        return cell_sums(rows, scores, [0] * len(rows), 1)

    def statistic(self, totals: Floats) -> Floats:
        """The mean score."""
        # A resample may hold no question that has a score: 0 then, since 0/0 is no number.
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
    cells]). `cells[i]` is the cell of question i. A question with an error, or whose cell is None,
    adds nothing. Raises: EvalError where a row has no cluster.

    Image "x" has a right and a wrong answer, image "y" a right one and an error:

    >>> rows = [{"cluster_id": image} for image in "xxyy"]
    >>> scores = [ItemScore(value, "ok") for value in (1.0, 0.0, 1.0)] + [ItemScore(None, "error")]
    >>> names, sums = cell_sums(rows, scores, cells=[0, 0, 0, 0], num_cells=1)
    >>> names, sums.tolist()
    (['x', 'y'], [[1.0, 2.0], [1.0, 1.0]])
    """
    rows_NK = np.zeros((len(rows), 2 * num_cells))
    for number, (score, cell) in enumerate(zip(scores, cells, strict=True)):
        if score.score is not None and cell is not None:
            rows_NK[number, 2 * cell : 2 * cell + 2] = (score.score, 1.0)
    clusters, sums_CK = cluster_rows(list(map(cluster_id_of, rows)), rows_NK)
    return [str(cluster) for cluster in clusters], sums_CK


def group_means(rows: Sequence[Row], scores: Sequence[ItemScore], column: str) -> dict[str, float]:
    """The mean score for each value of a column, sorted by value. Errors and rows without the
    column are left out.
    """
    groups: dict[str, list[float]] = {}
    for row, score in zip(rows, scores, strict=True):
        if row.get(column) is not None and score.score is not None:
            groups.setdefault(str(row[column]), []).append(score.score)
    return {name: float(np.mean(groups[name])) for name in sorted(groups)}
