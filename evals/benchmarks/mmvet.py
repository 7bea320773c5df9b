"""MM-Vet: open questions that need several skills at once, graded from 0 to 1 by a judge.

Source: arXiv 2308.02490; yuweihao/MM-Vet (mm-vet_evaluator).

Licence: Apache 2.0.

Data: `lmms-lab/MMVet`, split test, 218 rows (unverified: no download of ours has counted them).

One row:

    {"question_id": "v1_0", "image": ..., "question": "What is x in the equation?",
     "answer": "-1<AND>-5", "image_source": "https://...", "capability": "ocr,math"}

Rule: the judge completes the authors' table of graded examples, and the first word that it writes
is the grade, a number from 0 to 1. Where it writes no grade it is asked again; without a grade in
the end, or where the call fails, the score is an error and not a 0.

Score: the mean grade. It depends on the judge, which the result names: never compare scores of two
judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.judge import judge_text
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, mean_of, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rl.core import ImageSource, Sample

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
_MEME = (
    "Can you explain this meme? | This meme is poking fun at the fact that the names of the "
    "countries Iceland and Greenland are misleading. Despite its name, Iceland is known for its "
    "beautiful green landscapes, while Greenland is mostly covered in ice and snow. The meme is "
    "saying that the person has trust issues because the names of these countries do not "
    "accurately represent their landscapes. | "
)
_EQUATION = "What is x in the equation? | -1 <AND> -5 | "
_TABLE = (
    _EQUATION + "x = 3 | 0.0",
    _EQUATION + "x = -1 | 0.5",
    _EQUATION + "x = -5 | 0.5",
    _EQUATION + "x = -5 or 5 | 0.5",
    _EQUATION + "x = -1 or x = -5 | 1.0",
    _MEME + "The meme talks about Iceland and Greenland. It's pointing out that despite their "
    "names, Iceland is not very icy and Greenland isn't very green. | 0.4",
    _MEME + "The meme is using humor to point out the misleading nature of Iceland's and "
    "Greenland's names. Iceland, despite its name, has lush green landscapes while Greenland is "
    "mostly covered in ice and snow. The text 'This is why I have trust issues' is a playful way "
    "to suggest that these contradictions can lead to distrust or confusion. The humor in this "
    "meme is derived from the unexpected contrast between the names of the countries and their "
    "actual physical characteristics. | 1.0",
)


class MMVet(AccuracyBenchmark):
    """MM-Vet: the mean grade (x 100 in the paper's tables)."""

    id: ClassVar[str] = "mmvet"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/yuweihao/MM-Vet"
    licence: ClassVar[str] = "Apache 2.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("MMVet", HubData("test"))
    expected_rows: ClassVar[int] = 218
    columns: ClassVar[tuple[str, ...]] = (
        *("question_id", "image", "question", "answer", "capability"),
    )
    max_new_tokens: ClassVar[int] = 1024
    needs_judge: ClassVar[bool] = True
    profiles: ClassVar[tuple[str, ...]] = ("official", "lmms_eval")
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "question_id": "v1_0",
            "question": "What is x in the equation?",
            "answer": "-1<AND>-5",
            "image_source": "https://example.org/equation.png",
            "capability": "ocr,math",
        },
    )
    judge_template: ClassVar[str] = "\n".join(
        [
            "Compare the ground truth and prediction from AI models, to give a correctness score "
            "for the prediction. <AND> in the ground truth means it is totally right only when all "
            "elements in the ground truth are present in the prediction, and <OR> means it is "
            "totally right when any one element in the ground truth is present in the prediction. "
            "The correctness score is 0.0 (totally wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, "
            "0.9, or 1.0 (totally right). Just complete the last space of the correctness score.",
            "gpt_query_prompt | Ground truth | Prediction | Correctness",
            "--- | --- | --- | ---",
            *_TABLE,
            "",
        ]
    )
    judge_attempts: ClassVar[int] = 3

    def prompt(self, row: Row, profile: str) -> str:
        """The question; lmms-eval asks to reason first."""
        question = str(row["question"])
        if profile != "lmms_eval":
            return question
        return (
            "First please perform reasoning, and think step by step to provide best answer to the "
            f"following question: \n\n{question}"
        )

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The category is the combination of capabilities, sorted."""
        sample = Sample(
            uid=f"mmvet-{row['question_id']}",
            messages=(user_message(prompt, images),),
            images=images,
            references=(str(row["answer"]),),
        )
        skills = _skills(str(row["capability"]))
        cluster = cluster_of(images, str(row["question"]))
        columns = {"capability": ",".join(skills)}
        category = "_".join(skills)
        return Item(sample, str(row["question"]), cluster, category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """The judge's grade, or an error where it gave none. Raises: DataError for a row that no
        judge has seen.
        """
        response_text(row, self.id)
        grade = _grade(judge_text(row))
        return ItemScore(None, "error") if grade is None else verdict(row, grade, grade)

    def judge_prompt(self, row: Row) -> str | None:
        """The authors' table with one more line to complete."""
        answer = reference_texts(row, self.id)[0]
        for mark in ("<AND>", "<OR>"):
            answer = answer.replace(mark, f" {mark} ")
        line = f"{row.get('question', '')} | {answer} | {response_text(row, self.id)} |"
        return f"{self.judge_template}\n{line}"

    def is_judgement(self, text: str) -> bool:
        """Whether it begins with a grade."""
        return _grade(text) is not None

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """The mean grade, also by combination of capabilities and by single capability."""
        metrics = super().aggregate(rows, scores, profile)
        pairs = list(zip(rows, scores, strict=True))
        metrics["capabilities"] = {
            skill: mean_of(score for row, score in pairs if skill in _skills(_capability(row)))
            for skill in CAPABILITIES
            if any(skill in _skills(_capability(row)) for row in rows)
        }
        return metrics

    def check_gold(self, rows: Sequence[Row], profile: str = "official") -> tuple[float, float]:
        """(1.0, 0.0) where the aggregate is right, for a judge that gives the references 1.0 and
        empty answers 0.0. Only the aggregate is checked, since only a judge can grade.
        """
        values = []
        for grade in ("1.0", "0.0"):
            given = [{**row, "response": self.gold(row), "judgement": grade} for row in rows]
            scores = [self.score(row, profile) for row in given]
            values.append(self.primary(self.aggregate(given, scores, profile)))
        return values[0], values[1]


def _skills(capability: str) -> list[str]:
    return sorted(skill.strip() for skill in capability.split(",") if skill.strip())


def _capability(row: Row) -> str:
    return str(row.get("capability") or "")


def _grade(text: str | None) -> float | None:
    """The grade that the judge's text begins with, or None.

    >>> _grade("0.5 | x"), _grade("1.0"), _grade("The score is 0.5"), _grade("7")
    (0.5, 1.0, None, None)
    """
    words = (text or "").split()
    try:
        grade = float(words[0]) if words else -1.0
    except ValueError:
        return None
    return grade if 0.0 <= grade <= 1.0 else None
