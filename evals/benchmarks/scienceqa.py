"""ScienceQA-IMG: school science with an image, a hint and up to five choices.

Source: arXiv 2209.09513. Licence: CC BY-NC-SA 4.0. Data: `lmms-lab/ScienceQA`, configuration
ScienceQA-IMG, split test, 2017 rows (ScienceQA-FULL's 4241 hold text-only rows too). One row:

    {"image": ..., "question": "What is the name of the colony shown?",
     "choices": ["Maryland", "New Hampshire", "Rhode Island", "Vermont"], "answer": 1, "hint": "",
     "task": "closed choice", "grade": "grade5", "subject": "social science", "topic": "us-history",
     "category": "Colonial America", "skill": "Identify the Thirteen Colonies", "lecture": "...",
     "solution": "..."}

Profiles: `official` and `vlmevalkit` VLMEvalKit's exact matching; `lmms_eval` a letter alone, or an
upper-case letter and a period in front ("(A)" and "Answer: A" are wrong). Categories are subjects.
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
from rewards.letters import LETTERS, letter_scienceqa


class ScienceQA(ChoiceBenchmark):
    """ScienceQA with images, accuracy."""

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
        """A, B, ..."""
        return by_letter(row["choices"])

    def answer(self, row: Row) -> str:
        """The letter at that index. Raises: DataError."""
        return letter_at(self.options(row), row["answer"])

    def hint(self, row: Row) -> str:
        """The context, where there is any."""
        return str(row["hint"] or "")

    def prompt(self, row: Row, profile: str) -> str:
        """ "Context: ..." first, where there is any."""
        if profile == "vlmevalkit":
            return super().prompt(row, profile)
        context = f"Context: {self.hint(row)}\n" if self.hint(row) else ""
        return f"{context}{self.question(row)}\n{option_lines(self.options(row))}\n{CLOSING}"

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """Rows bear no id: their number."""
        columns = {key: str(row[key]) for key in ("topic", "grade")}
        return f"{number:05d}", str(row["subject"]), columns

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The profile's rule."""
        if profile == "lmms_eval":
            return letter_scienceqa(text, len(row_letters(row, self.id, LETTERS)))
        return super().read(text, row, profile)
