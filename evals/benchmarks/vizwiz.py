"""VizWiz-VQA: questions of blind people about their own photographs, scored against ten people's
answers.

Source: arXiv 1802.08218; the rule as lmms-eval@75571cfe0fa3 applies it
(lmms_eval/tasks/vizwiz_vqa/utils.py).

Licence: CC BY 4.0.

Data: `lmms-lab/VizWiz-VQA`, split val, 4319 rows (the test answers are hidden).

One row:

    {"question_id": "VizWiz_val_00000000", "image": ..., "category": "unanswerable",
     "question": "Ok. There is another picture I hope it is a better one.",
     "answers": ["unanswerable", "unanswerable", "unsuitable", ...]}

Rules (`rewards/text.py`): `official` and `lmms_eval` are the EvalAI processor and soft accuracy;
`lmms_eval` capitalises the question in the prompt. `vlmevalkit` has its own normaliser and asks the
bare question.

Score: the mean soft accuracy.
"""

from __future__ import annotations

from statistics import mean
from typing import ClassVar

import numpy as np

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import answer_list, one_turn
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.text import evalai_answer, soft_accuracy, vlmevalkit_answer
from rl.core import ImageSource

_CLOSING = (
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
    "\nAnswer the question using a single word or phrase."
)


class VizWiz(AccuracyBenchmark):
    """VizWiz-VQA: mean soft accuracy."""

    id: ClassVar[str] = "vizwiz"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://vizwiz.org/tasks-and-datasets/vqa"
    licence: ClassVar[str] = "CC BY 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("VizWiz-VQA", HubData("val"))
    expected_rows: ClassVar[int] = 4319
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answers")
    max_new_tokens: ClassVar[int] = 32
    groups: ClassVar[dict[str, str]] = {}
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question_id": "VizWiz_val_00000000",
            "question": "Ok. There is another picture I hope it is a better one.",
            "answers": ["unanswerable"] * 8 + ["unsuitable", "fuzzy"],
            "category": "unanswerable",
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question, when to say "Unanswerable", and a closing line; `vlmevalkit` asks the bare
        question.
        """
        question = str(row["question"])
        if profile == "vlmevalkit":
            return question
        return (question.capitalize() if profile == "lmms_eval" else question) + _CLOSING

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where there are no answers (as in the hub's test split)."""
        return one_turn(
            f"vizwiz-{row['question_id']}",
            prompt,
            images,
            answer_list(row["answers"]),
            str(row["question"]),
            category=str(row.get("category") or "all"),
            question_id=str(row["question_id"]),
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """Soft accuracy of the normalised response; 0 without references, except in `vlmevalkit`,
        which refuses such a row. Raises: DataError.
        """
        normalise = vlmevalkit_answer if profile == "vlmevalkit" else evalai_answer
        answer = normalise(response_text(row, self.id))
        if row.get("references") == [] and profile != "vlmevalkit":
            return verdict(row, 0.0, answer)
        references = [normalise(reference) for reference in reference_texts(row, self.id)]
        shares = soft_accuracy(answer, references)
        return verdict(
            row, float(np.mean(shares) if profile == "vlmevalkit" else mean(shares)), answer
        )
