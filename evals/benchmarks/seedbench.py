"""SEED-Bench (images): 14,232 multiple-choice questions of nine dimensions.

Source: arXiv 2307.16125. Licence: CC BY-NC 4.0. Data: `lmms-lab/SEED-Bench`, split test, 17,990
rows (unverified) of which those with `data_type` "image" are asked; video rows are left out. One
row:

    {"answer": "A", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four",
     "data_id": "1454426_2591111986", "data_type": "image",
     "question": "How many towels are in the image?", "question_id": "101669",
     "question_type_id": 5, "image": [...], "segment": null}

Profiles: `official` and `vlmevalkit` VLMEvalKit's exact matching (the authors rank the options by
likelihood, no text is scored); `lmms_eval` the first character alone ("The answer is B" is T).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from evals.choices import ChoiceBenchmark, Options
from evals.data.items import Item, PartName, Row
from evals.data.layout import HubData, lmms_lab
from evals.data.parts import take
from rewards.letters import letter_seedbench
from rl.errors import DataError

DIMENSIONS = (
    *("Scene Understanding", "Instance Identity", "Instance Attributes", "Instance Location"),
    *("Instances Counting", "Spatial Relation", "Instance Interaction", "Visual Reasoning"),
    *("Text Understanding", "Action Recognition", "Action Prediction", "Procedure Understanding"),
)
_CHOICES = {"A": "choice_a", "B": "choice_b", "C": "choice_c", "D": "choice_d"}


class SEEDBench(ChoiceBenchmark):
    """SEED-Bench's image questions, accuracy."""

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
        """The hub holds a list of images: one, or a video's frames."""
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
        """As every benchmark's, video rows left out. Raises: DataError."""
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
        """lmms-eval takes the first character."""
        if profile == "lmms_eval":
            return letter_seedbench(text)
        return super().read(text, row, profile)
