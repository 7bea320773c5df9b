"""TextVQA: questions that need the text in the image, scored against ten people's answers.

Source: arXiv 1904.08920; facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py
(TextVQAAccuracyEvaluator).

Licence: CC BY 4.0 (annotations; the images are OpenImages').

Data: `lmms-lab/textvqa`, split validation, 5000 rows.

One row:

    {"image_id": "003a8ae2ef43b901", "question_id": 34602, "image": ...,
     "question": "what is the brand of this camera?", "answers": ["nous les gosses", "dakota", ...]}

Rules (`rewards/text.py`): answer and references are normalised, then the answer's soft accuracy is
taken. `official` is mmf's evaluator: the EvalAI processor, and exactly ten references. `lmms_eval`
takes any number of references, and capitalises the question in the prompt. `vlmevalkit` has its own
normaliser. The prompt holds no OCR tokens.

Score: the mean soft accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, ClassVar

import numpy as np

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.text import evalai_answer, soft_accuracy, vlmevalkit_answer
from rl.core import ImageSource, Sample
from rl.errors import DataError

_NORMALISE: dict[str, Callable[[str], str]] = {
    "official": evalai_answer,
    "lmms_eval": evalai_answer,
    "vlmevalkit": vlmevalkit_answer,
}
_NUM_REFERENCES = 10


def _plain_mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_AVERAGE: dict[str, Callable[[Sequence[float]], Any]] = {
    "official": _plain_mean,
    "lmms_eval": mean,
    "vlmevalkit": np.mean,
}


class TextVQA(AccuracyBenchmark):
    """TextVQA: mean soft accuracy."""

    id: ClassVar[str] = "textvqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://textvqa.org"
    licence: ClassVar[str] = "CC BY 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = {
        **lmms_lab("textvqa", HubData("validation")),
        "facebook/textvqa": HubData("validation"),
    }
    expected_rows: ClassVar[int] = 5000
    columns: ClassVar[tuple[str, ...]] = ("image_id", "question_id", "question", "image", "answers")
    max_new_tokens: ClassVar[int] = 32
    groups: ClassVar[dict[str, str]] = {}
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "image_id": "003a8ae2ef43b901",
            "question_id": 34602,
            "question": "what is the brand of this camera?",
            "answers": ["dakota"] * 8 + ["dakota digital", "nous les gosses"],
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question and a closing line. lmms-eval capitalises the question, which lower-cases
        all but its first letter.
        """
        question = str(row["question"])
        if profile == "lmms_eval":
            question = question.capitalize()
        return f"{question}\nAnswer the question using a single word or phrase."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where there are not ten answers (the hub's test split has none)."""
        answers = row["answers"]
        if not isinstance(answers, list) or len(answers) != _NUM_REFERENCES:
            raise DataError(f"answers are {answers!r}"[:200], expected="ten texts")
        sample = Sample(
            uid=f"textvqa-{row['question_id']}",
            messages=(user_message(prompt, images),),
            images=images,
            references=tuple(map(str, answers)),
        )
        columns = {"question_id": row["question_id"], "image_id": str(row["image_id"])}
        category = str(row.get("category") or "all")
        cluster = cluster_of(images, str(row["image_id"]))
        return Item(sample, str(row["question"]), cluster, category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """Soft accuracy of the normalised response. Raises: DataError."""
        references = reference_texts(row, self.id)
        if profile == "official" and len(references) != _NUM_REFERENCES:
            raise DataError(
                f"{len(references)} references",
                where=f"textvqa {row.get('sample_id', '?')}",
                expected="exactly ten (official rule)",
            )
        normalise = _NORMALISE[profile]
        answer = normalise(response_text(row, self.id))
        shares = soft_accuracy(answer, [normalise(reference) for reference in references])
        # Each program averages in its own way, which shows in the last digit: for three people of
        # ten mmf gives 0.8999999999999998, lmms-eval 0.9.
        return verdict(row, float(_AVERAGE[profile](shares)), answer)
