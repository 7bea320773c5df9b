"""OCRBench: reading text of ten kinds, right where a reference is part of the answer.

Source: arXiv 2305.07895; Yuliang-Liu/MultimodalOCR@794c36d6423c, OCRBench/example.py.

Licence: academic research only, images of several origins.

Data: `echo840/OCRBench`, split test, 1000 rows.

One row:

    {"dataset": "IIIT5K", "question": "what is written in the image?", "question_type":
     "Regular Text Recognition", "answer": ["CENTRE"], "image": ...}

Rules: answer and references are lower-cased, with spaces for line ends; formulas (data set HME100k)
keep their case and lose all spaces. `lmms_eval` also reads full-width ASCII as plain ASCII.
`vlmevalkit` finds formulas by the kind of question. An empty reference is part of every answer.

Score: the number of right answers, of 1000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import answer_list, one_turn
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData
from evals.scoring.stats import Floats
from rewards.ocr_contains import fold_full_width, formula_text, ocr_text
from rl.core import ImageSource
from rl.errors import DataError

TEXT_RECOGNITION = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)
_FORMULA, _FORMULA_DATASET = "Handwritten Mathematical Expression Recognition", "HME100k"


class OCRBench(AccuracyBenchmark):
    """OCRBench: the number of right answers (of 1000)."""

    id: ClassVar[str] = "ocrbench"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/Yuliang-Liu/MultimodalOCR"
    licence: ClassVar[str] = "academic research only"
    hub_ids: ClassVar[dict[str, HubData]] = {"echo840/OCRBench": HubData("test")}
    expected_rows: ClassVar[int] = 1000
    columns: ClassVar[tuple[str, ...]] = ("dataset", "image", "question", "question_type", "answer")
    max_new_tokens: ClassVar[int] = 128
    primary_name: ClassVar[str] = "total"
    primary_rule: ClassVar[str] = "The number of questions whose answer holds a reference."
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "dataset": "IIIT5K",
            "question": "what is written in the image?",
            "question_type": "Regular Text Recognition",
            "answer": ["CENTRE"],
        },
        {
            "dataset": "HME100k",
            "question": "Please write out the expression of the formula using LaTeX format.",
            "question_type": _FORMULA,
            "answer": ["\\frac { a } { b }"],
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question alone."""
        return str(row["question"]) if profile == "vlmevalkit" else str(row["question"]).strip()

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where the answers are no texts."""
        answer = row["answer"]
        kind = str(row["question_type"])
        return one_turn(
            f"ocrbench-{number:05d}",
            prompt,
            images,
            answer_list(answer if isinstance(answer, list) else [answer]),
            str(row["question"]),
            category=kind,
            question_type=kind,
            dataset=str(row["dataset"]),
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where a reference is part of the response. Raises: DataError."""
        text, references = response_text(row, self.id), reference_texts(row, self.id)
        form = formula_text if _is_formula(row, profile) else ocr_text
        if profile == "lmms_eval" and form is ocr_text:
            text, references = fold_full_width(text), [fold_full_width(r) for r in references]
        read = form(text)
        right = any(form(reference) in read for reference in references)
        return verdict(row, float(right), read)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The numbers of right answers: of all, by kind of question, and of text recognition."""
        counts: dict[str, int] = {}
        for row, score in zip(rows, scores, strict=True):
            kind = _kind(row)
            if score.score is not None and kind is not None:
                counts[kind] = counts.get(kind, 0) + int(score.score)
        return {
            "total": sum(int(score.score) for score in scores if score.score is not None),
            "categories": {kind: counts[kind] for kind in sorted(counts)},
            "text_recognition": sum(counts.get(kind, 0) for kind in TEXT_RECOGNITION),
        }

    def statistic(self, totals: Floats) -> Floats:
        """The number of right answers."""
        total: Floats = np.asarray(totals[..., 0])
        return total

    def max_score(self, rows: Sequence[Row]) -> float:
        """The number of questions."""
        return float(len(rows))


def _kind(row: Row) -> str | None:
    kind = row.get("question_type") or row.get("category")
    return None if kind is None else str(kind)


def _is_formula(row: Row, profile: str) -> bool:
    """Whether the profile's rule for formulas applies. Raises: DataError where the row names
    neither its data set nor its kind of question.
    """
    dataset, kind = row.get("dataset"), _kind(row)
    if dataset is None and kind is None:
        raise DataError(
            "no dataset and no question_type",
            where=f"ocrbench {row.get('sample_id', '?')}",
            expected=f"one of them: formulas ({_FORMULA_DATASET}) have their own rule",
        )
    if dataset is None or (profile == "vlmevalkit" and kind is not None):
        return kind == _FORMULA
    return bool(dataset == _FORMULA_DATASET)
