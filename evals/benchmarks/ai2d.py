"""AI2D: multiple choice about school-book diagrams, labels masked by letters.

Source: arXiv 1603.07396 (the test set as converted by lmms-lab). Licence: CC BY-SA 4.0. Data:
`lmms-lab/ai2d` (masked boxes; `lmms-lab/ai2d-no-mask` leaves the labels and scores several points
higher: never compare the two), split test, 3088 rows. One row:

    {"question": "which of these define dairy item", "options": ["c", "D", "b", "a"],
     "answer": "1", "image": ...}

Profiles: `official` and `vlmevalkit` VLMEvalKit's exact matching (the authors score a classifier,
no text); `lmms_eval` a capital and period in front, else the whole text, without case and
punctuation ("(A)" is right, "A) cat" is wrong).
"""

from __future__ import annotations

from typing import Any, ClassVar

from evals.choices import ChoiceBenchmark, Options, by_letter, letter_at, row_letters
from evals.data.items import Row
from evals.data.layout import HubData, lmms_lab
from rewards.letters import LETTERS, letter_ai2d


class AI2D(ChoiceBenchmark):
    """AI2D, accuracy."""

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
        """A, B, ..."""
        return by_letter(row["options"])

    def answer(self, row: Row) -> str:
        """The letter at that index. Raises: DataError."""
        return letter_at(self.options(row), row["answer"])

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """Rows bear no id: their number."""
        return f"{number:05d}", str(row.get("category") or "all"), {}

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """lmms-eval compares whole texts: what is no letter cannot be right."""
        if profile != "lmms_eval":
            return super().read(text, row, profile)
        answer = letter_ai2d(text)
        letters = row_letters(row, self.id, LETTERS)
        return next((letter for letter in letters if letter.lower() == answer), None)
