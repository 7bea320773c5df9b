"""ScienceQA-IMG: school science questions with an image, a hint and up to five choices.

Source: arXiv 2209.09513.

Licence: CC BY-NC-SA 4.0.

Data: `lmms-lab/ScienceQA`, configuration ScienceQA-IMG, split test, 2017 rows. (ScienceQA-FULL's
4241 rows include questions without an image.)

One row:

    {"image": ..., "question": "What is the name of the colony shown?",
     "choices": ["Maryland", "New Hampshire", "Rhode Island", "Vermont"], "answer": 1, "hint": "",
     "task": "closed choice", "grade": "grade5", "subject": "social science", "topic": "us-history",
     "category": "Colonial America", "skill": "Identify the Thirteen Colonies", "lecture": "...",
     "solution": "..."}

Rules: `official` and `vlmevalkit` are VLMEvalKit's exact matching. `lmms_eval` is
`letter_scienceqa` below, which reads "(A)" and "Answer: A" as wrong.

Score: the share of right answers; also by subject.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evals.choices import (
    CLOSING,
    ChoiceBenchmark,
    Options,
    by_letter,
    letter_at,
    option_lines,
    row_letters,
)
from evals.data.items import Row
from evals.data.layout import HubData, lmms_lab
from rewards.letters import LETTERS, letters_of


class ScienceQA(ChoiceBenchmark):
    """ScienceQA with images: the share of right answers."""

    id: ClassVar[str] = "scienceqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://scienceqa.github.io"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab(
        "ScienceQA", HubData("test", ("ScienceQA-IMG",))
    )
    expected_rows: ClassVar[int] = 2017
    columns: ClassVar[tuple[str, ...]] = (
        *("image", "question", "choices", "answer", "hint"),
        *("subject", "topic", "category", "grade"),
    )
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question": "What is the name of the colony shown?",
            "choices": ["Maryland", "New Hampshire", "Rhode Island", "Vermont"],
            "answer": 1,
            "hint": "",
            "task": "closed choice",
            "grade": "grade5",
            "subject": "social science",
            "topic": "us-history",
            "category": "Colonial America",
            "skill": "Identify the Thirteen Colonies",
            "lecture": "",
            "solution": "The colony is New Hampshire.",
        },
    )

    def options(self, row: Row) -> Options:
        """The options by letter."""
        return by_letter(row["choices"])

    def answer(self, row: Row) -> str:
        """The letter of the option with that number, from 0. Raises: DataError."""
        return letter_at(self.options(row), row["answer"])

    def hint(self, row: Row) -> str:
        """The row's hint, which is often empty."""
        return str(row["hint"] or "")

    def prompt(self, row: Row, profile: str) -> str:
        """As every `ChoiceBenchmark`, with "Context: ..." for the hint."""
        if profile == "vlmevalkit":
            return super().prompt(row, profile)
        context = f"Context: {self.hint(row)}\n" if self.hint(row) else ""
        return f"{context}{self.question(row)}\n{option_lines(self.options(row))}\n{CLOSING}"

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """The rows have no id, so their number is part of the uid. Categories are subjects."""
        columns = {key: str(row[key]) for key in ("topic", "grade")}
        return f"{number:05d}", str(row["subject"]), columns

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter by the profile's rule."""
        if profile == "lmms_eval":
            return letter_scienceqa(text, len(row_letters(row, self.id, LETTERS)))
        return super().read(text, row, profile)


def letter_scienceqa(text: str, num_options: int) -> str | None:
    """The letter by lmms-eval's rule for ScienceQA: a letter alone, or a capital with a period at
    the start.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/scienceqa/utils.py.

    >>> letter_scienceqa(" b ", 3), letter_scienceqa("A. x", 3), letter_scienceqa("(A)", 3)
    ('B', 'A', None)
    """
    text = text.strip()
    letters = letters_of(range(num_options))
    for letter in letters:
        if text.lower() == letter.lower():
            return letter
    if text[:1].isupper() and text[1:2] == ".":
        return text[0] if text[0] in letters else None
    return None
