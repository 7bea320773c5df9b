"""GQA: compositional questions about scenes, answered by a word or two.

Source: arXiv 1902.09506; rules as lmms-eval@75571cfe0fa3 (lmms_eval/tasks/gqa/gqa.yaml) and
VLMEvalKit@e8e78f05f308 apply them. Licence: CC BY 4.0. Data: `lmms-lab/GQA`, split testdev of two
configurations, testdev_balanced_instructions (12578 rows, unverified) and testdev_balanced_images,
joined on imageId. One row:

    {"id": "201307251", "imageId": "n161313", "question": "Is it overcast?", "answer": "no",
     "fullAnswer": "No, it is not overcast.", "isBalanced": true,
     "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"}}

Profiles: `official` equality of the lower-cased, stripped answer without a closing period (the
authors' script compares the files that submissions make so); `lmms_eval` equality apart from case
and ASCII punctuation; `vlmevalkit` equality after strip and lower. The authors' validity and
consistency need the scene graphs and are not computed.
"""

from __future__ import annotations

from typing import ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.base import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.layout import HubData, lmms_lab
from evals.messages import one_turn
from rewards.text import unpunctuated
from rl.core import ImageSource


class GQA(AccuracyBenchmark):
    """GQA testdev-balanced, share of right answers; categories are the questions' structures."""

    id: ClassVar[str] = "gqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://cs.stanford.edu/people/dorarad/gqa"
    licence: ClassVar[str] = "CC BY 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab(
        "GQA",
        HubData(
            "testdev",
            ("testdev_balanced_instructions",),
            images=("testdev_balanced_images", "imageId"),
        ),
    )
    expected_rows: ClassVar[int] = 12578
    columns: ClassVar[tuple[str, ...]] = ("id", "imageId", "image", "question", "answer")
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "id": "201307251",
            "imageId": "n161313",
            "question": "Is it overcast?",
            "answer": "no",
            "fullAnswer": "No, it is not overcast.",
            "isBalanced": True,
            "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"},
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question and the closing line."""
        return f"{row['question']}\nAnswer the question using a single word or phrase."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The category is the question's structure (query, verify, logical, choose, compare)."""
        types = row.get("types")
        structure = types.get("structural") if isinstance(types, dict) else None
        return one_turn(
            f"gqa-{row['id']}",
            prompt,
            images,
            (str(row["answer"]),),
            str(row["question"]),
            category=str(structure or "all"),
            image_id=str(row["imageId"]),
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the profile's form of response and reference are equal. Raises: DataError."""
        references = reference_texts(row, self.id)
        answer = _form(response_text(row, self.id), profile)
        return verdict(row, float(answer in {_form(r, profile) for r in references}), answer)


def _form(text: str, profile: str) -> str:
    if profile == "lmms_eval":
        # numpy's arrays of texts, in which the peer compares, lose closing NULs.
        return unpunctuated(text.rstrip("\0").lower()).rstrip("\0")
    text = text.strip().lower()
    return text if profile == "vlmevalkit" else text.removesuffix(".")
