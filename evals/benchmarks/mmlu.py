"""MMLU: multiple-choice questions of 57 subjects, answered in text.

Source: arXiv 2009.03300; EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/mmlu/
generative (the other form of that task compares likelihoods and scores no text).

Licence: MIT.

Data: `cais/mmlu`, configuration all, split test, 14042 rows. The first five rows of split dev of
the same subject are the worked examples.

One row:

    {"question": "Find the degree of the extension Q(sqrt(2)) over Q.", "subject":
     "abstract_algebra", "choices": ["0", "4", "2", "6"], "answer": 2}

Rules (`rewards/letters.py`): `official` takes the first line as the letter, apart from case and
punctuation. `flexible` is lmms-eval's shared extractor.

Score: the share of right answers over all questions, not the mean over subjects.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evals.asking.fewshot import FewShotBenchmark
from evals.choices import (
    ChoiceBenchmark,
    Options,
    by_letter,
    letter_at,
    option_lines,
    row_letters,
)
from evals.data.items import Row
from evals.data.layout import HubData
from rewards.letters import LETTERS, letter_first_line, letter_lmms_eval

_ZERO_SHOT = "Answer with the letter of the right option alone."


class MMLU(FewShotBenchmark, ChoiceBenchmark):
    """MMLU: the share of right answers over all questions."""

    id: ClassVar[str] = "mmlu"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/hendrycks/test"
    licence: ClassVar[str] = "MIT"
    hub_ids: ClassVar[dict[str, HubData]] = {"cais/mmlu": HubData("test", ("all",))}
    expected_rows: ClassVar[int] = 14_042
    columns: ClassVar[tuple[str, ...]] = ("question", "subject", "choices", "answer")
    max_new_tokens: ClassVar[int] = 16
    profiles: ClassVar[tuple[str, ...]] = ("official", "flexible")
    shot_split: ClassVar[str] = "dev"
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question": "Find the degree of the extension Q(sqrt(2)) over Q.",
            "subject": "abstract_algebra",
            "choices": ["0", "4", "2", "6"],
            "answer": 2,
        },
    )

    def subject(self, row: Row) -> str:
        return str(row["subject"])

    def options(self, row: Row) -> Options:
        return by_letter(row["choices"])

    def answer(self, row: Row) -> str:
        """The letter of the option with that number, from 0. Raises: DataError."""
        return letter_at(self.options(row), row["answer"])

    def shot(self, row: Row) -> str:
        return f"{self._ask(row)} {self.answer(row)}"

    def prompt(self, row: Row, profile: str) -> str:
        """The subject, the examples, the question; without examples an instruction."""
        subject = self.subject(row).replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {subject}."
        return "\n\n".join([head, *(self.shots(row) or [_ZERO_SHOT]), self._ask(row)])

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """The rows have no id, so their number is part of the uid."""
        return f"{number:05d}", self.subject(row), {"num_shots": len(self.shots(row))}

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The profile's rule; every question has four options."""
        letters = row_letters(row, self.id, LETTERS[:4])
        if profile == "flexible":
            return letter_lmms_eval(text, letters)
        return letter_first_line(text, letters)

    def _ask(self, row: Row) -> str:
        return f"{str(row['question']).strip()}\n{option_lines(self.options(row))}\nAnswer:"
