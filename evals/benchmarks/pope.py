"""POPE: "is there a snowboard in the image?", asked also about things that are not there.

A model that hallucinates objects says yes too often; the score is F1 of yes.

Source: arXiv 2305.10355; RUCAIBox/POPE@3df3ba1b110e, evaluate.py.

Licence: MIT (questions; the images are COCO's).

Data: `lmms-lab/POPE`, split test, 9000 rows: adversarial, popular and random negatives x 3000. The
same rows are the splits of these names of configuration Full (as the hub's website and lmms-eval's
tasks show it; no download of ours has seen them: unverified).

One row:

    {"id": "0", "question_id": "1", "image": ..., "image_source": "COCO_val2014_000000310196",
     "question": "Is there a snowboard in the image?", "answer": "yes", "category": "adversarial"}

Rules: `official` is the authors' script (`yes_no_pope` below), for which an empty answer is yes.
`lmms_eval` reads only "yes" or "no" as the whole answer, leaves other answers out of the recall,
reports the references' yes ratio, and asks for a single word. `vlmevalkit` looks for the words yes
and no; a row of several categories counts once in each, and as often in the total.

Score: F1 over all rows. `f1_mean` is the mean of the categories' F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from evals.asking.messages import one_turn
from evals.base import Benchmark
from evals.data.items import (
    Item,
    ItemScore,
    Row,
    cluster_id_of,
    reference_texts,
    response_text,
    verdict,
)
from evals.data.layout import HubData, lmms_lab
from evals.scoring.stats import Floats, cluster_rows
from rewards.yes_no import YesNo, yes_no_vlmevalkit
from rl.core import ImageSource
from rl.errors import DataError


def yes_no_pope(text: str) -> YesNo:
    """POPE's own reading: "no" where No, no or not is a word of the text before the first period,
    else "yes".

    Kept on purpose: the script splits at single spaces and deletes commas only, so "No!" is yes,
    and so is an empty answer.

    Source: RUCAIBox/POPE@3df3ba1b110e, evaluate.py.

    >>> yes_no_pope("No, it is not."), yes_no_pope("No!"), yes_no_pope("")
    ('no', 'yes', 'yes')
    """
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def yes_no_lmms_eval(text: str) -> YesNo:
    """lmms-eval's reading for POPE: the whole answer is yes or no, apart from case.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/pope/utils.py.

    >>> yes_no_lmms_eval(" Yes "), yes_no_lmms_eval("Yes.")
    ('yes', 'other')
    """
    text = text.lower().strip()
    if text == "yes":
        return "yes"
    return "no" if text == "no" else "other"


_READ = {"official": yes_no_pope, "lmms_eval": yes_no_lmms_eval, "vlmevalkit": yes_no_vlmevalkit}
# The tally of a row: true positives, false positives, false negatives, right, yes, rows. All scores
# follow from its sums.
_CELLS = 6


class POPE(Benchmark):
    """POPE: F1 of yes over all rows; `f1_mean` is the mean of the categories' F1."""

    id: ClassVar[str] = "pope"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/RUCAIBox/POPE"
    licence: ClassVar[str] = "MIT"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab(
        "POPE", HubData("test", also=HubData("adversarial+popular+random", ("Full",)))
    )
    expected_rows: ClassVar[int] = 9000
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answer", "category")
    max_new_tokens: ClassVar[int] = 128
    primary_name: ClassVar[str] = "f1"
    is_yes_no: ClassVar[bool] = True
    primary_rule: ClassVar[str] = (
        "F1 over all questions, yes being the positive answer: 2 x precision x recall / "
        "(precision + recall)."
    )
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "id": str(number),
            "question_id": str(number + 1),
            "image_source": "COCO_val2014_000000310196",
            "question": f"Is there a {thing} in the image?",
            "answer": answer,
            "category": category,
        }
        for number, (thing, answer, category) in enumerate(
            (
                ("snowboard", "yes", "adversarial"),
                ("dining table", "no", "adversarial"),
                ("person", "yes", "random"),
                ("bus", "no", "random"),
            )
        )
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question; `lmms_eval` adds a closing line."""
        question = str(row["question"])
        if profile == "lmms_eval":
            return f"{question.strip()}\nAnswer the question using a single word or phrase."
        return question

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an answer that is not yes or no."""
        return one_turn(
            f"pope-{number:05d}",
            prompt,
            images,
            (_reference(row["answer"]),),
            str(row["question"]),
            category=str(row["category"]),
            question_id=str(row["question_id"]),
        )

    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """1 where the answer read by the profile's rule is the reference. Raises: DataError."""
        self.require_profile(profile)
        if row.get("error"):
            return ItemScore(None, "error")
        reference = _reference(reference_texts(row, self.id)[0])
        parsed = _READ[profile](response_text(row, self.id))
        says_yes, is_yes = parsed == "yes", reference == "yes"
        # lmms-eval leaves unread answers out of the recall and counts the references' yes.
        missed = is_yes and (parsed == "no" if profile == "lmms_eval" else not says_yes)
        counted_yes = is_yes if profile == "lmms_eval" else says_yes
        right = parsed == reference
        cells = (says_yes and is_yes, says_yes and not is_yes, missed, right, counted_yes, True)
        weight = len(_categories(row, profile)) or 1
        found = verdict(row, float(right), parsed, is_parsed=parsed != "other")
        tally = tuple(float(weight * cell) for cell in cells)
        return ItemScore(found.score, found.status, found.parsed, tally)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy, precision, recall, F1 and yes ratio, of all and of each category."""
        categories: dict[str, Floats] = {}
        total = np.zeros(_CELLS)
        for row, score in zip(rows, scores, strict=True):
            if score.score is None:
                continue
            cells = np.asarray(score.tally)
            total += cells
            names = _categories(row, profile)
            for name in names:
                categories.setdefault(name, np.zeros(_CELLS))
                categories[name] += cells / len(names)
        by_category = {name: _figures(categories[name]) for name in sorted(categories)}
        f1s = [figures["f1"] for figures in by_category.values()]
        values = [f1 for f1 in f1s if f1 is not None]
        overall = _figures(total)
        return {
            **overall,
            "f1_mean": float(np.mean(values)) if values else overall["f1"],
            "categories": by_category,
        }

    def layout(self, rows: Sequence[Row]) -> list[str]:
        """One cell, since F1 is computed over all rows together."""
        return ["all"]

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """The sum of the tallies of each cluster: [C, 6]."""
        rows_NK = np.array([score.tally or (0.0,) * _CELLS for score in scores])
        names, sums_CK = cluster_rows(list(map(cluster_id_of, rows)), rows_NK.reshape(-1, _CELLS))
        return [str(name) for name in names], sums_CK

    def statistic(self, totals: Floats) -> Floats:
        """F1 of summed tallies: [..., 6] -> [...]."""
        positives, false_positives, missed = np.moveaxis(totals[..., :3], -1, 0)
        f1: Floats = 2 * positives / np.maximum(2 * positives + false_positives + missed, 1)
        return f1

    def max_score(self, rows: Sequence[Row]) -> float:
        """1."""
        return 1.0

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """The F1 of a coin: it finds half of what is there, and half of its answers are yes."""
        share = float(np.mean([row["references"][0].lower() == "yes" for row in rows]))
        return share / (share + 0.5)

    def floor_score(self, rows: Sequence[Row], profile: str = "official") -> float:
        """The F1 of empty answers. By the official rule an empty answer is yes, so it is the F1 of
        always saying yes.
        """
        if profile != "official":
            return 0.0
        share = float(np.mean([row["references"][0].lower() == "yes" for row in rows]))
        return 2 * share / (1 + share)


def _reference(answer: Any) -> str:
    text = str(answer).strip().lower()
    if text not in ("yes", "no"):
        raise DataError(f"answer {answer!r}", expected="yes or no")
    return text


def _categories(row: Row, profile: str) -> list[str]:
    """The categories in which the row counts; VLMEvalKit splits a list of them."""
    if row.get("category") is None:
        return []
    name = str(row["category"])
    return name.split(",") if profile == "vlmevalkit" else [name]


def _figures(cells: Floats) -> dict[str, float | None]:
    positives, false_positives, missed, right, yes, count = map(float, cells)
    if count == 0:
        return dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_ratio"))
    precision = positives / (positives + false_positives) if positives + false_positives else 0.0
    recall = positives / (positives + missed) if positives + missed else 0.0
    both = precision + recall
    return {
        "accuracy": right / count,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
        "yes_ratio": yes / count,
    }
