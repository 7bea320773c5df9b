"""Letters alone: multiple-choice data of your own, scored by the letter that a program's rule
reads.

Source: the rules of EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3 (mcq_extract.py) and
open-compass/VLMEvalKit@e8e78f05f308 (matching_util.py).

Licence: that of the data.

Data: a file of your own; no hub id.

One row:

    {"question": "What is the main object?", "options": ["teddy bear", "rabbit", "cat", "dog"],
     "answer": "B", "image": ...}

Rules (`rewards/letters.py`): `lmms_eval`, which is also `official`, is the shared extractor.
`vlmevalkit` is exact matching, and needs the options. A response row without a reference (none,
null or an empty text) is right where nothing could be read: such rows test the reading itself.

Score: the share of right letters.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evals.choices import (
    DEFAULT_LETTERS,
    ChoiceBenchmark,
    Options,
    by_letter,
    row_letter,
    row_letters,
    row_options,
)
from evals.data.items import ItemScore, Row, response_text, verdict
from evals.data.layout import HubData
from rewards.letters import DECLINED, letter_lmms_eval, letter_vlmevalkit
from rl.errors import DataError


class LetterChoice(ChoiceBenchmark):
    """The share of right letters."""

    id: ClassVar[str] = "mcq"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/EvolvingLMMs-Lab/lmms-eval"
    licence: ClassVar[str] = "that of the data"
    hub_ids: ClassVar[dict[str, HubData]] = {}
    expected_rows: ClassVar[int] = 0
    columns: ClassVar[tuple[str, ...]] = ("question", "options", "answer")
    images_are_optional: ClassVar[bool] = True
    max_new_tokens: ClassVar[int] = 16
    default_profile: ClassVar[str] = "lmms_eval"
    profiles: ClassVar[tuple[str, ...]] = ("official", "lmms_eval", "vlmevalkit")
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question": "What is the main object?",
            "options": ["teddy bear", "rabbit", "cat", "dog"],
            "answer": "B",
        },
    )

    def options(self, row: Row) -> Options:
        """The options by letter. Raises: DataError where they are no list of two or more."""
        if not isinstance(row["options"], list) or len(row["options"]) < 2:
            raise DataError(f"options are {row['options']!r}"[:200], expected="a list of texts")
        return by_letter(row["options"])

    def answer(self, row: Row) -> str:
        return str(row["answer"]).strip().upper()

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """The rows have no id, so their number is part of the uid."""
        return f"{number:05d}", str(row.get("category") or "all"), {}

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the letter read is the reference. Raises: DataError."""
        text = response_text(row, self.id)
        if profile == "vlmevalkit":
            letter = letter_vlmevalkit(text, row_options(row, self.id))
        else:
            letter = letter_lmms_eval(text, row_letters(row, self.id, DEFAULT_LETTERS))
        is_given = row.get("references") not in (None, [], [None], "", [""])
        reference = row_letter(row, self.id) if is_given else None
        is_parsed = letter is not None and letter != DECLINED
        return verdict(row, float(letter == reference), letter, is_parsed=is_parsed)
