"""MMStar: 1,500 multiple-choice questions that cannot be answered without the image.

Source: arXiv 2403.20330.

Licence: see the data card (unverified: no download of ours has seen it).

Data: `Lin-Chen/MMStar`, split val, 1500 rows, 6 categories x 250.

One row:

    {"index": 0, "question": "Which option describe the object relationship in the image
     correctly?\\nOptions: A: The suitcase is on the book., B: The suitcase is beneath the cat., C:
     ..., D: ...", "image": ..., "answer": "A", "category": "coarse perception", "l2_category":
     "image scene and topic", "meta_info": {"source": "MMBench", "split": "val", "image_path": ...}}

Rules (`rewards/letters.py`): `official` and `vlmevalkit` are VLMEvalKit's exact matching,
`lmms_eval` is its shared extractor.

Score: the share of right answers. In `lmms_eval` it is the mean of the level-two categories'
shares, within each category and over all.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from evals.accuracy import cell_sums, group_means
from evals.choices import CLOSING, ChoiceBenchmark, Options, vlmevalkit_prompt
from evals.data.items import ItemScore, Row
from evals.data.layout import HubData
from evals.scoring.stats import Floats
from rewards.letters import LETTERS, letter_lmms_eval
from rl.errors import DataError

_MARK = "\nOptions: "
_L2_RULE = "The mean of the level-two categories' shares of right answers."


class MMStar(ChoiceBenchmark):
    """MMStar: the share of right answers; in `lmms_eval` the mean of the level-two categories'
    shares.
    """

    id: ClassVar[str] = "mmstar"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://mmstar-benchmark.github.io"
    licence: ClassVar[str] = "see the data card (unverified)"
    hub_ids: ClassVar[dict[str, HubData]] = {"Lin-Chen/MMStar": HubData("val")}
    expected_rows: ClassVar[int] = 1500
    columns: ClassVar[tuple[str, ...]] = (
        *("index", "question", "image", "answer"),
        *("category", "l2_category"),
    )
    max_new_tokens: ClassVar[int] = 128
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "index": 0,
            "question": "Where is the suitcase?\nOptions: A: on the book, B: beneath the cat, "
            "C: beneath the bed, D: beneath the book",
            "answer": "A",
            "category": "coarse perception",
            "l2_category": "image scene and topic",
            "meta_info": {"source": "MMBench", "split": "val", "image_path": "images/0.jpg"},
        },
    )
    by_l2: bool = False  # whether the statistic is the mean of level-two means

    def for_profile(self, profile: str) -> MMStar:
        """This benchmark with the profile's statistic."""
        chosen = copy.copy(self)
        chosen.by_l2 = profile == "lmms_eval"
        if chosen.by_l2:
            chosen.primary_rule = _L2_RULE  # type: ignore[misc]
        return chosen

    def options(self, row: Row) -> Options:
        """The options in the question's text after "Options: ", by letter. Raises: DataError.

        An option may hold ", " and ": ", so each ends only where the next letter follows: "A: red,
        dark, B: blue" holds two options.
        """
        _, mark, tail = str(row["question"]).rpartition(_MARK)
        options: Options = {}
        while mark and (letter := chr(ord("A") + len(options))) and tail.startswith(f"{letter}: "):
            following = f", {chr(ord(letter) + 1)}: "
            text, comma, rest = tail[3:].partition(following)
            options[letter] = text.strip()
            tail = following[2:] + rest if comma else ""
        if len(options) < 2:
            raise DataError(
                f"{len(options)} options in question {row['question']!r}"[:200],
                expected='two or more, as "... Options: A: .., B: .."',
            )
        return options

    def question(self, row: Row) -> str:
        """The question before "Options: "."""
        return str(row["question"]).rpartition(_MARK)[0]

    def answer(self, row: Row) -> str:
        return str(row["answer"]).strip().upper()

    def prompt(self, row: Row, profile: str) -> str:
        """The data's question, which holds the options; lmms-eval's closing line has no period."""
        if profile == "vlmevalkit":
            return vlmevalkit_prompt(self.question(row), self.options(row))
        closing = CLOSING.removesuffix(".") if profile == "lmms_eval" else CLOSING
        return f"{str(row['question']).strip()}\n{closing}"

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        columns = {"index": int(row["index"]), "l2_category": str(row["l2_category"])}
        return f"{int(row['index']):05d}", str(row["category"]), columns

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter by the profile's rule; lmms-eval looks for A to D whatever the options."""
        if profile == "lmms_eval":
            return letter_lmms_eval(text, LETTERS[:4])
        return super().read(text, row, profile)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy and categories; by level-two categories in the `lmms_eval` profile."""
        if profile != "lmms_eval":
            return super().aggregate(rows, scores, profile)
        categories: dict[str, float | None] = {}
        for category in sorted({str(row["category"]) for row in rows if "category" in row}):
            members = [n for n, row in enumerate(rows) if str(row.get("category")) == category]
            categories[category] = _mean_of_l2(
                [rows[n] for n in members], [scores[n] for n in members]
            )
        return {"accuracy": _mean_of_l2(rows, scores), "categories": categories}

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """The level-two categories, where the statistic needs them."""
        return sorted({_l2(row) for row in rows}) if self.by_l2 else ["all"]

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """For each cluster and level-two category the scores' sum and the questions: [C, 2 x L]."""
        cells = [layout.index(_l2(row)) if self.by_l2 else 0 for row in rows]
        return cell_sums(rows, scores, cells, len(layout))

    def statistic(self, totals: Floats) -> Floats:
        """The mean over the categories that have questions."""
        pairs = totals.reshape(*totals.shape[:-1], -1, 2)
        right, count = pairs[..., 0], pairs[..., 1]
        means = right / np.maximum(count, 1)
        mean: Floats = means.sum(-1) / np.maximum((count > 0).sum(-1), 1)
        return mean


def _l2(row: Row) -> str:
    """The row's level-two category, or its category where it has none."""
    found = row.get("l2_category")
    return str(row.get("category", "") if found is None else found)


def _mean_of_l2(rows: Sequence[Row], scores: Sequence[ItemScore]) -> float | None:
    named = [{"l2_category": _l2(row)} for row in rows]
    means = group_means(named, scores, "l2_category")
    return sum(means.values()) / len(means) if means else None
