"""SEED-Bench (images): 14,232 multiple-choice questions of nine dimensions.

Source: arXiv 2307.16125.

Licence: CC BY-NC 4.0.

Data: `lmms-lab/SEED-Bench`, split test, 17,990 rows (unverified: no download of ours has counted
them). Rows with `data_type` "image" are asked, video rows are left out.

One row:

    {"answer": "A", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four",
     "data_id": "1454426_2591111986", "data_type": "image",
     "question": "How many towels are in the image?", "question_id": "101669",
     "question_type_id": 5, "image": [...], "segment": null}

Rules: `official` and `vlmevalkit` are VLMEvalKit's exact matching (the authors rank the options by
likelihood and score no text). `lmms_eval` is `letter_seedbench` below: the first character.

Score: the share of right answers; also by dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from evals.choices import ChoiceBenchmark, Options
from evals.data.items import Item, PartName, Row
from evals.data.layout import HubData, lmms_lab
from evals.data.parts import take
from rl.errors import DataError

DIMENSIONS = (
    *("Scene Understanding", "Instance Identity", "Instance Attributes", "Instance Location"),
    *("Instances Counting", "Spatial Relation", "Instance Interaction", "Visual Reasoning"),
    *("Text Understanding", "Action Recognition", "Action Prediction", "Procedure Understanding"),
)
_CHOICES = {"A": "choice_a", "B": "choice_b", "C": "choice_c", "D": "choice_d"}


class SEEDBench(ChoiceBenchmark):
    """SEED-Bench's image questions: the share of right answers."""

    id: ClassVar[str] = "seedbench"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/AILab-CVC/SEED-Bench"
    licence: ClassVar[str] = "CC BY-NC 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("SEED-Bench", HubData("test"))
    expected_rows: ClassVar[int] = 17_990
    columns: ClassVar[tuple[str, ...]] = (
        *("answer", *_CHOICES.values(), "data_type"),
        *("question", "question_id", "question_type_id", "image"),
    )
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "answer": "A",
            "choice_a": "One",
            "choice_b": "Two",
            "choice_c": "Three",
            "choice_d": "Four",
            "data_id": "1454426_2591111986",
            "data_type": "image",
            "question": "How many towels are in the image?",
            "question_id": "101669",
            "question_type_id": 5,
            "segment": None,
        },
    )

    def adapt(self, row: Row, config: str) -> Row:
        """The row with its first image; the hub has a list, of one image or of a video's frames."""
        image = row.get("image")
        if isinstance(image, Sequence) and not isinstance(image, str | bytes):
            return {**row, "image": image[0] if image else None}
        return row

    def load(
        self,
        path: str | Path,
        part: PartName | None = None,
        *,
        profile: str = "official",
        prompt: str | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """As `Benchmark.load`, without the video rows. Raises: DataError."""
        items = super().load(path, part, profile=profile, prompt=prompt)
        images = [item for item in items if item.columns["data_type"] == "image"]
        if not images:
            raise DataError(
                "no image questions",
                where=str(path),
                expected='rows whose data_type is "image"',
                do="check the path",
            )
        return images if limit is None else take(images, limit)

    def options(self, row: Row) -> Options:
        return {letter: str(row[column]) for letter, column in _CHOICES.items()}

    def answer(self, row: Row) -> str:
        return str(row["answer"]).strip().upper()

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """Categories are the dimensions."""
        kind = int(row["question_type_id"])
        category = DIMENSIONS[kind - 1] if 0 < kind <= len(DIMENSIONS) else f"type {kind}"
        columns = {"question_id": str(row["question_id"]), "data_type": str(row["data_type"])}
        return f"{row['data_type']}-{row['question_id']}", category, columns

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter by the profile's rule."""
        if profile == "lmms_eval":
            return letter_seedbench(text)
        return super().read(text, row, profile)


def letter_seedbench(text: str) -> str | None:
    """The letter by lmms-eval's rule for SEED-Bench: the first character, whatever it is.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/seedbench/utils.py.

    >>> letter_seedbench(" b"), letter_seedbench("The answer is B"), letter_seedbench("")
    ('B', 'T', None)
    """
    return text.strip()[:1].upper().strip() or None
