"""ChartQA: questions about charts, written by people or generated from summaries.

Source: arXiv 2203.10244; google-research/pix2struct, pix2struct/metrics.py (relaxed_correctness).

Licence: GPL-3.0.

Data: `lmms-lab/ChartQA`, split test, 2500 rows (1250 human, 1250 augmented).
`HuggingFaceM4/ChartQA` has other column names (query, label, human_or_machine).

One row:

    {"type": "human_test", "question": "How many food item is shown in the bar graph?",
     "answer": "14", "image": ...}

Rules: a number is right within 5 %, other text must be equal apart from case. `official` and
`lmms_eval` take the answer with its white space (" 14" is a number, but " yes" is not "yes").
`vlmevalkit` strips the answer and has its own closing line in the prompt.

Score: the share of right answers; also of each half, and the mean of the two halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import answer_list, one_turn
from evals.data.items import Item, ItemScore, Row, mean_of, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.relaxed_accuracy import relaxed_match, relaxed_number
from rl.core import ImageSource

_SPLITS = ("human", "augmented")


class ChartQA(AccuracyBenchmark):
    """ChartQA: relaxed accuracy over all questions, by half, and `mean` of the two halves."""

    id: ClassVar[str] = "chartqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/vis-nlp/ChartQA"
    licence: ClassVar[str] = "GPL-3.0"
    hub_ids: ClassVar[dict[str, HubData]] = {
        **lmms_lab("ChartQA", HubData("test")),
        "HuggingFaceM4/ChartQA": HubData("test"),
    }
    expected_rows: ClassVar[int] = 2500
    columns: ClassVar[tuple[str, ...]] = ("type", "image", "question", "answer")
    other_columns: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("image", "query", "label", "human_or_machine"),
    )
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "type": "human_test",
            "question": "How many food item is shown in the bar graph?",
            "answer": "14",
        },
        {
            "type": "augmented_test",
            "question": "What is the value of Other services in 2019?",
            "answer": "Yes",
        },
    )

    def adapt(self, row: Row, config: str) -> Row:
        """HuggingFaceM4's columns under the usual names."""
        if "query" not in row:
            return row
        is_human = row["human_or_machine"] in (0, "human")
        kind = "human_test" if is_human else "augmented_test"
        return {**row, "question": row["query"], "answer": row["label"], "type": kind}

    def prompt(self, row: Row, profile: str) -> str:
        """The question and the profile's closing line."""
        ending = (
            " using a single word or phrase" if profile == "vlmevalkit" else " with a single word"
        )
        return f"{row['question']}\nAnswer the question{ending}."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError where the answer is no text."""
        answer = row["answer"]
        return one_turn(
            f"chartqa-{number:05d}",
            prompt,
            images,
            answer_list(answer if isinstance(answer, list) else [answer], what="the answer"),
            str(row["question"]),
            category=_split(row["type"]) or "all",
            type=str(row["type"]),
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the response is a reference, numbers within 5 %. Raises: DataError."""
        text, references = response_text(row, self.id), reference_texts(row, self.id)
        if profile == "vlmevalkit":
            text = text.strip()
        right = any(relaxed_match(text, reference) for reference in references)
        number = relaxed_number(text)
        # JSON has no nan and no infinity: such an answer is kept as text.
        is_finite = number is not None and abs(number) < float("inf")
        return verdict(row, float(right), number if is_finite else text.lower())

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy, the accuracy of each half (None where it has no rows), and the halves' mean."""
        halves: dict[str, list[ItemScore]] = {name: [] for name in _SPLITS}
        for row, score in zip(rows, scores, strict=True):
            half = _split(row.get("type")) or _split(row.get("category"))
            if half and score.score is not None:
                halves[half].append(score)
        values = {name: mean_of(found) for name, found in halves.items()}
        present = [value for value in values.values() if value is not None]
        mean = sum(present) / len(present) if present else None
        return {"accuracy": mean_of(scores), **values, "mean": mean}


def _split(value: Any) -> str | None:
    """The half that a value such as "human_test" or "augmented" names, else None."""
    return next((name for name in _SPLITS if str(value).lower().startswith(name)), None)
