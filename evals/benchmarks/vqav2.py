"""VQAv2: open questions about COCO images, scored against ten people's answers.

Source: arXiv 1612.00837; GT-Vision-Lab/VQA@a013f0043c1e, PythonEvaluationTools/vqaEvaluation/
vqaEval.py.

Licence: CC BY 4.0 (annotations; the images are COCO's).

Data: `lmms-lab/VQAv2`, split validation, 214354 rows (the test answers are with EvalAI).

One row:

    {"question_id": 262148000, "image_id": 262148, "image": ...,
     "question_type": "none of the above", "question": "Where is he looking?",
     "multiple_choice_answer": "down", "answer_type": "other",
     "answers": [{"answer": "down", "answer_confidence": "yes", "answer_id": 1}, ...]}

Rules: soft accuracy of the normalised answer. `official` is the VQA tool, which normalises only
where the references are not all the same ("yes." against ten "yes" is wrong). `lmms_eval` always
normalises. `vlmevalkit` always does, by its own rule for periods.

Score: the mean soft accuracy; also by kind of answer and of question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean
from typing import Any, ClassVar

import numpy as np

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import answer_list, one_turn
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.text import one_line, plain_words, soft_accuracy, vlmevalkit_answer, without_marks
from rl.core import ImageSource


class VQAv2(AccuracyBenchmark):
    """VQAv2: mean soft accuracy, also by kind of answer and of question."""

    id: ClassVar[str] = "vqav2"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://visualqa.org"
    licence: ClassVar[str] = "CC BY 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("VQAv2", HubData("validation"))
    expected_rows: ClassVar[int] = 214354
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image", "question", "answers")
    max_new_tokens: ClassVar[int] = 16
    groups: ClassVar[dict[str, str]] = {
        "answer_type": "answer_type",
        "question_type": "question_type",
    }
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question_type": "none of the above",
            "multiple_choice_answer": "down",
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": number}
                for number, answer in enumerate(["down"] * 8 + ["at table", "skateboard"], start=1)
            ],
            "image_id": 262148,
            "answer_type": "other",
            "question_id": 262148000,
            "question": "Where is he looking?",
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question and lmms-eval's closing line."""
        return f"{row['question']}\nAnswer the question using a single word or phrase."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where there are no answers (as in the hub's test split)."""
        given = row["answers"] or []
        answers = answer_list([a.get("answer") if isinstance(a, dict) else a for a in given])
        answer_type = str(row.get("answer_type") or "all")
        return one_turn(
            f"vqav2-{row['question_id']}",
            prompt,
            images,
            answers,
            str(row["question"]),
            category=answer_type,
            question_id=row["question_id"],
            answer_type=answer_type,
            question_type=str(row.get("question_type") or "all"),
        )

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy, also by answer type (its category where a row has none) and question type."""
        named = [
            {**row, "answer_type": row.get("answer_type") or row.get("category")} for row in rows
        ]
        return super().aggregate(named, scores, profile)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """Soft accuracy of the response. Raises: DataError."""
        text, references = response_text(row, self.id), reference_texts(row, self.id)
        if profile == "official":
            answer, wanted = vqa_tool_answers(text, references)
            shares = soft_accuracy(answer, wanted)
            return verdict(row, float(mean(shares)), answer)
        normalise = vlmevalkit_answer if profile == "vlmevalkit" else vqav2_answer_lmms_eval
        answer, wanted = normalise(text), [normalise(reference) for reference in references]
        average: Any = np.mean if profile == "vlmevalkit" else mean
        return verdict(row, float(average(soft_accuracy(answer, wanted))), answer)


# As the VQA tool's own expression, but "1,,000" matches too.
_DIGIT_COMMAS_DIGIT = re.compile(r"\d,+\d")


def vqa_tool_answer(text: str) -> str:
    """The answer as the VQA tool writes it. Unlike `evalai_answer` it keeps "mcdonald's" whole.

    Source: GT-Vision-Lab/VQA@a013f0043c1e, PythonEvaluationTools/vqaEvaluation/vqaEval.py.

    >>> vqa_tool_answer("The mcdonald's, hello,world")
    "mcdonald's helloworld"
    """
    return plain_words(without_marks(one_line(text)))


def vqa_tool_answers(text: str, references: Sequence[str]) -> tuple[str, list[str]]:
    """Answer and references as the VQA tool compares them: it normalises them only where the
    references are not all the same.

    Source: as `vqa_tool_answer` (evaluate).

    >>> vqa_tool_answers("yes.", ["yes", "yes"]), vqa_tool_answers("yes.", ["yes", "no."])
    (('yes.', ['yes', 'yes']), ('yes', ['yes', 'no']))
    """
    answer, lines = one_line(text), [one_line(reference) for reference in references]
    if len(set(lines)) <= 1:
        return answer, lines
    return vqa_tool_answer(answer), [vqa_tool_answer(line) for line in lines]


def vqav2_answer_lmms_eval(text: str) -> str:
    """The answer as lmms-eval writes it for VQAv2: as the VQA tool, but "1,,000" deletes every mark
    too.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/vqav2/utils.py.

    >>> vqav2_answer_lmms_eval("1,,000 left-right"), vqa_tool_answer("1,,000 left-right")
    ('1000 leftright', '1 000 left right')
    """
    return plain_words(without_marks(one_line(text), commas=_DIGIT_COMMAS_DIGIT))
