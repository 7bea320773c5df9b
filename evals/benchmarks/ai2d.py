"""AI2D: multiple-choice questions about school-book diagrams.

Source: arXiv 1603.07396; the test set as converted by lmms-lab.

Licence: CC BY-SA 4.0.

Data: `lmms-lab/ai2d`, split test, 3088 rows; the labels in the diagrams are replaced by letters.
`lmms-lab/ai2d-no-mask` keeps the labels and scores several points higher: never compare the two.

One row:

    {"question": "which of these define dairy item", "options": ["c", "D", "b", "a"],
     "answer": "1", "image": ...}

Rules: `official` and `vlmevalkit` are VLMEvalKit's exact matching (the authors score a classifier
and no text). `lmms_eval` is `letter_ai2d` below.

Score: the share of right answers.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from evals.choices import ChoiceBenchmark, Options, by_letter, letter_at, row_letters
from evals.data.items import Row
from evals.data.layout import HubData, lmms_lab
from rewards.letters import LETTERS
from rewards.text import unpunctuated

_LETTER_PERIOD = re.compile(r"^\s*([A-Z])\.")


class AI2D(ChoiceBenchmark):
    """AI2D: the share of right answers."""

    id: ClassVar[str] = "ai2d"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://prior.allenai.org/projects/diagram-understanding"
    licence: ClassVar[str] = "CC BY-SA 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = {
        **lmms_lab("ai2d", HubData("test")),
        **lmms_lab("ai2d-no-mask", HubData("test")),
    }
    expected_rows: ClassVar[int] = 3088
    columns: ClassVar[tuple[str, ...]] = ("question", "options", "answer", "image")
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question": "which of these define dairy item",
            "options": ["c", "D", "b", "a"],
            "answer": "1",
        },
    )

    def options(self, row: Row) -> Options:
        """The options by letter."""
        return by_letter(row["options"])

    def answer(self, row: Row) -> str:
        """The letter of the option with that number, from 0. Raises: DataError."""
        return letter_at(self.options(row), row["answer"])

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """The rows have no id, so their number is part of the uid."""
        return f"{number:05d}", str(row.get("category") or "all"), {}

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter by the profile's rule.

        lmms-eval compares whole texts, so a text that is not exactly a letter cannot be right.
        """
        if profile != "lmms_eval":
            return super().read(text, row, profile)
        answer = letter_ai2d(text)
        letters = row_letters(row, self.id, LETTERS)
        return next((letter for letter in letters if letter.lower() == answer), None)


def letter_ai2d(text: str) -> str:
    """What lmms-eval compares with the reference: the capital before a period at the start, else
    the whole text, in lower case and without punctuation.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/ai2d/ai2d.yaml and utils.py.

    >>> letter_ai2d("(A)"), letter_ai2d("B. a cat"), letter_ai2d("A) cat")
    ('a', 'b', 'a cat')
    """
    match = _LETTER_PERIOD.match(text)
    answer = match[1] if match else text.strip()
    return unpunctuated(answer.lower())
