"""DocVQA: questions about scanned documents, scored by edit distance (ANLS).

Source: arXiv 2007.00398; the rule on which lmms-eval@75571cfe0fa3 (lmms_eval/api/metrics.py),
VLMEvalKit and evalscope agree.

Licence: for research, see the website of the competition.

Data: `lmms-lab/DocVQA`, configuration DocVQA, split validation, 5349 rows (the test answers are
hidden).

One row:

    {"questionId": "49153", "question_types": ["figure/diagram"], "image": ..., "docId": 14465,
     "question": "What is the 'actual' value per 1000, during the year 1975?",
     "ucsf_document_id": "pybv0228", "ucsf_document_page_no": "81", "answers": ["0.28"],
     "data_split": "val"}

Rule: 1 - edit distance / length of the longer text, for the nearest reference; below one half it
counts as 0 (`rewards/anls.py`). All three profiles have this rule and one prompt.

Score: the mean over questions.
"""

from __future__ import annotations

from typing import ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import answer_list, one_turn
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.anls import anls_answer, anls_similarity
from rl.core import ImageSource


class DocVQA(AccuracyBenchmark):
    """DocVQA: mean ANLS."""

    id: ClassVar[str] = "docvqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://www.docvqa.org/datasets/docvqa"
    licence: ClassVar[str] = "research only"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("DocVQA", HubData("validation", ("DocVQA",)))
    expected_rows: ClassVar[int] = 5349
    columns: ClassVar[tuple[str, ...]] = ("questionId", "image", "question", "answers")
    max_new_tokens: ClassVar[int] = 32
    primary_name: ClassVar[str] = "anls"
    primary_rule: ClassVar[str] = (
        "The mean over questions of 1 - edit distance / length of the longer text, against the "
        "nearest reference; below 0.5 it counts as 0."
    )
    groups: ClassVar[dict[str, str]] = {}
    kind_column: ClassVar[str] = "question_types"
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "questionId": "49153",
            "question": "What is the 'actual' value per 1000, during the year 1975?",
            "question_types": ["figure/diagram"],
            "docId": 14465,
            "ucsf_document_id": "pybv0228",
            "ucsf_document_page_no": "81",
            "answers": ["0.28"],
            "data_split": "val",
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question and the closing line."""
        return f"{row['question']}\nAnswer the question using a single word or phrase."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The category is the first of the question's kinds. Raises: DataError without answers."""
        kinds = row.get(self.kind_column) or ["all"]
        return one_turn(
            f"{self.id}-{row['questionId']}",
            prompt,
            images,
            answer_list(row["answers"]),
            str(row["question"]),
            category=str(kinds[0] if isinstance(kinds, list) else kinds),
            question_id=str(row["questionId"]),
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """The best reference's similarity, 0 below one half. Raises: DataError."""
        text = response_text(row, self.id)
        value = anls_similarity(text, reference_texts(row, self.id))
        return verdict(row, value, anls_answer(text))
