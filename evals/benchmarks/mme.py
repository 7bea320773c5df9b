"""MME: two yes/no questions about each image, which count twice where both are right.

Source: arXiv 2306.13394; the authors' calculation tool,
BradyFU/Awesome-Multimodal-Large-Language-Models@dd2950902889 (tools/eval_tool.zip).

Licence: images of several origins, for academic research only (see the paper's repository).

Data: `lmms-lab/MME`, split test, 2374 rows (1187 images x 2).

One row:

    {"question_id": "existence/000000006040.jpg", "image": ..., "answer": "Yes",
     "category": "existence",
     "question": "Is there a train in this image? Please answer yes or no."}

Rules (`rewards/yes_no.py`): `official` is the authors' tool. `lmms_eval` strips, drops periods and
reads a lone y or n; its prompt asks for a single word. `vlmevalkit` looks for the words yes and no.
An answer that is neither is wrong.

Score: a category scores 100 x the share of right answers + 100 x the share of images with both
answers right, at most 200. `perception` (10 categories), `cognition` (4) and `total` are sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from evals.asking.messages import cluster_of, user_message
from evals.base import Benchmark
from evals.data.items import (
    Item,
    ItemScore,
    Row,
    cluster_id_of,
    mean_of,
    reference_texts,
    response_text,
    verdict,
)
from evals.data.layout import HubData, lmms_lab
from evals.scoring.stats import Floats
from rewards.yes_no import yes_no_lmms_eval, yes_no_official, yes_no_vlmevalkit
from rl.core import ImageSource, Sample
from rl.errors import DataError

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
_READ = {
    "official": yes_no_official,
    "lmms_eval": yes_no_lmms_eval,
    "vlmevalkit": yes_no_vlmevalkit,
}
_INSTRUCTION = " Please answer yes or no."


class MME(Benchmark):
    """MME: the sum over its categories (perception at most 2000, cognition at most 800)."""

    id: ClassVar[str] = "mme"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models"
    licence: ClassVar[str] = "academic research only"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("MME", HubData("test"))
    expected_rows: ClassVar[int] = 2374
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answer", "category")
    max_new_tokens: ClassVar[int] = 16
    primary_name: ClassVar[str] = "total"
    is_yes_no: ClassVar[bool] = True
    primary_rule: ClassVar[str] = (
        "The sum over the categories of acc + acc+, both in percent: acc is the share of right "
        "answers, acc+ the share of images whose two questions are both right. Each category "
        "gives at most 200."
    )
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "question_id": "existence/000000006040.jpg",
            "question": f"Is there a {thing} in this image? Please answer yes or no.",
            "answer": answer,
            "category": "existence",
        }
        for thing, answer in (("train", "Yes"), ("boat", "No"))
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question with its "Please answer yes or no."; lmms-eval replaces that sentence."""
        question = str(row["question"]).strip()
        if profile == "lmms_eval":
            question = question.replace(_INSTRUCTION, "")
            return f"{question}\nAnswer the question using a single word or phrase."
        return question

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an unknown category or an answer that is not yes or no."""
        category, answer = str(row["category"]), str(row["answer"])
        _require_category(category, f"question {row['question_id']}")
        if answer.strip().rstrip(".").lower() not in ("yes", "no"):
            raise DataError(f"answer {answer!r}", expected="Yes or No")
        sample = Sample(
            uid=f"mme-{number:05d}",
            messages=(user_message(prompt, images),),
            images=images,
            references=(answer,),
        )
        columns = {"question_id": str(row["question_id"])}
        question = str(row["question"])
        cluster = cluster_of(images, str(row["question_id"]))
        return Item(sample, question, cluster, category, "report", columns)

    def tie(self, item: Item) -> str:
        """Keeps the two questions of an image together, also where one row has lost the image."""
        return f"{item.category} {item.columns['question_id']}"

    def score(self, row: Row, profile: str = "official") -> ItemScore:
        """1 where the answer read by the profile's rule is the reference. Raises: DataError."""
        self.require_profile(profile)
        if row.get("error"):
            return ItemScore(None, "error")
        _require_category(row.get("category"), f"mme {row.get('sample_id', '?')}")
        given = reference_texts(row, self.id)[0]
        reference = given.strip().replace(".", "").lower()
        if reference not in ("yes", "no"):
            raise DataError(
                f"reference {given!r}",
                where=f"mme {row.get('sample_id', '?')}",
                expected="yes or no",
            )
        parsed = _READ[profile](response_text(row, self.id))
        return verdict(row, float(parsed == reference), parsed, is_parsed=parsed != "other")

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Perception, cognition, total and categories. An image with an error of ours is left out.
        Raises: DataError.
        """
        categories: dict[str, dict[str, float]] = {}
        pairs = _pairs(rows, scores)
        for category in (*PERCEPTION, *COGNITION):
            right = [pair for name, _, pair in pairs if name == category]
            if not right:
                continue
            acc = float(np.mean(right))
            acc_plus = float(np.mean([first * second for first, second in right]))
            categories[category] = {
                "acc": acc,
                "acc_plus": acc_plus,
                "score": 100 * acc + 100 * acc_plus,
            }
        perception = sum(categories[name]["score"] for name in PERCEPTION if name in categories)
        cognition = sum(categories[name]["score"] for name in COGNITION if name in categories)
        scored = [score for score in scores if score.score is not None]
        return {
            "perception": float(perception),
            "cognition": float(cognition),
            "total": float(perception + cognition),
            "categories": categories,
            "parse_rate": mean_of(
                ItemScore(float(self.is_parsed(score)), "ok") for score in scored
            ),
        }

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """For each cluster and category the right answers, questions, right pairs and pairs: [C, 4
        x categories].
        """
        numbers: dict[str, int] = {}
        for row in rows:
            numbers.setdefault(cluster_id_of(row), len(numbers))
        sums_CK = np.zeros((len(numbers), 4 * len(layout)))
        for category, cluster, (first, second) in _pairs(rows, scores):
            at = 4 * layout.index(category)
            sums_CK[numbers[cluster], at : at + 4] += (first + second, 2, first * second, 1)
        return list(numbers), sums_CK

    def statistic(self, totals: Floats) -> Floats:
        """The total: sum over categories of 100 x accuracy + 100 x acc_plus."""
        by_category = totals.reshape(*totals.shape[:-1], -1, 4)
        right, count, right_pairs, pairs = np.moveaxis(by_category, -1, 0)
        # A resample without any question of a category gives it 0 rather than 0/0.
        acc = right / np.maximum(count, 1)
        acc_plus = right_pairs / np.maximum(pairs, 1)
        total: Floats = 100 * (acc + acc_plus).sum(axis=-1)
        return total

    def max_score(self, rows: Sequence[Row]) -> float:
        """200 for each category that the rows have."""
        return 200.0 * len(self.layout(rows))

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """75 for each category: a coin gets 50 % of the questions and 25 % of the images right."""
        return 75.0 * len(self.layout(rows))


def _require_category(category: Any, where: str) -> None:
    if category not in PERCEPTION and category not in COGNITION:
        raise DataError(
            f"category {category!r}", where=where, expected=", ".join((*PERCEPTION, *COGNITION))
        )


def _image_ids(rows: Sequence[Row]) -> list[str]:
    """The name of each row's image: `question_id`, or `cluster_id` where no question_id repeats; ""
    for every row where neither repeats.
    """
    for key in ("question_id", "cluster_id"):
        ids = [(row.get("category"), str(row[key])) for row in rows if row.get(key) is not None]
        if len(ids) == len(rows) and len(set(ids)) < len(ids):
            return [image for _, image in ids]
    return [""] * len(rows)


def _pairs(
    rows: Sequence[Row], scores: Sequence[ItemScore]
) -> list[tuple[str, str, tuple[float, float]]]:
    """(category, cluster, both scores) of each pair of questions; pairs with an error are left out.

    A pair is two rows of one image in one category, in their order. Where no image id repeats, the
    rows do not say what belongs together, and two consecutive rows of a category are a pair, as in
    the official tool. Raises: DataError for a question without a partner.
    """
    images = _image_ids(rows)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        groups.setdefault((str(row.get("category", "")), image), []).append(number)
    pairs = []
    for (category, image), members in groups.items():
        if len(members) % 2:
            raise DataError(
                f"{len(members)} question{'s' * (len(members) > 1)}",
                where=f"mme category {category}" + (f", image {image}" if image else ""),
                expected="two an image",
            )
        for first, second in zip(members[::2], members[1::2], strict=True):
            left, right = scores[first].score, scores[second].score
            if left is not None and right is not None:
                cluster = str(rows[first].get("cluster_id", ""))
                pairs.append((category, cluster, (left, right)))
    return pairs
