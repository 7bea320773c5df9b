"""RealWorldQA: spatial questions about everyday and street scenes, with options or a short answer.

Source: x.ai's release of Grok-1.5 Vision; the rule of lmms-eval@75571cfe0fa3
(lmms_eval/tasks/realworldqa/utils.py).

Licence: CC BY-ND 4.0.

Data: `lmms-lab/RealWorldQA`, split test, 765 rows.

One row:

    {"image_path": "0.webp", "image": ..., "answer": "C", "question": "In which direction is the
     front wheel of the car on the right side facing?\\n\\nA. Left\\nB. Straight\\nC. Right\\nPlease
     answer directly with only the letter of the correct option and nothing else."}

Rules: where the reference is a letter from A to D, `official` and `lmms_eval` read a letter with
the shared extractor, and `vlmevalkit` with exact matching (with its own form of the prompt; its
table of options is not public, so ours are taken from the question: unverified against it). Any
other answer must be equal to the reference apart from case and closing periods.

Score: the share of right answers; also of questions with options and of open ones.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import one_turn
from evals.choices import row_options, vlmevalkit_prompt
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.letters import LETTERS, letter_lmms_eval, letter_vlmevalkit
from rl.core import ImageSource

_LETTERS = tuple(LETTERS[:4])
_OPTION = re.compile(r"^([A-D])\.[^\S\n]*(.*?)[^\S\n]*$", re.MULTILINE)


class RealWorldQA(AccuracyBenchmark):
    """RealWorldQA: the share of right answers; the categories are `options` and `open`."""

    id: ClassVar[str] = "realworldqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://x.ai/news/grok-1.5v"
    licence: ClassVar[str] = "CC BY-ND 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("RealWorldQA", HubData("test"))
    expected_rows: ClassVar[int] = 765
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "answer")
    max_new_tokens: ClassVar[int] = 16
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "image_path": "0.webp",
            "question": "In which direction is the front wheel of the car on the right side facing?"
            "\n\nA. Left\nB. Straight\nC. Right\nPlease answer directly with only the letter of "
            "the correct option and nothing else.",
            "answer": "C",
        },
        {
            "image_path": "1.webp",
            "question": "How many pedestrians are there?\nPlease answer directly with a single "
            "word or number.",
            "answer": "0",
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question, which holds the options; `vlmevalkit` has its own form of prompt."""
        question = str(row["question"])
        options = _inline_options(question)
        if profile == "vlmevalkit" and options:
            return vlmevalkit_prompt(question[: question.index("\nA.")].strip(), options)
        return question.strip()

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The category says whether the reference is a letter."""
        question, answer = str(row["question"]), str(row["answer"])
        options = list(_inline_options(question).values())
        columns: dict[str, Any] = {"options": options} if options else {}
        return one_turn(
            f"realworldqa-{number:05d}",
            prompt,
            images,
            (answer,),
            question,
            category="options" if answer.strip().upper() in _LETTERS else "open",
            **columns,
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the letter, or the whole answer, is the reference. Raises: DataError."""
        text = response_text(row, self.id)
        reference = reference_texts(row, self.id)[0].strip()
        if reference.upper() not in _LETTERS:
            answer = text.lower().strip().rstrip(".")
            return verdict(row, float(answer == reference.lower()), answer)
        if profile == "vlmevalkit":
            inline = _inline_options(str(row.get("question", "")))
            options = row_options(row, self.id) if "options" in row else inline
            letter = letter_vlmevalkit(text, options)
            is_parsed = letter in options
        else:
            letter = letter_lmms_eval(text, _LETTERS)
            is_parsed = letter is not None
        return verdict(row, float(letter == reference.upper()), letter, is_parsed=is_parsed)


def _inline_options(question: str) -> dict[str, str]:
    """The options in the question's text by letter; empty where it has no lines "A. ...", "B. ...".

    >>> _inline_options("Which?\\n\\nA. Left\\nB. Right\\nPlease answer.")
    {'A': 'Left', 'B': 'Right'}
    """
    found = dict(_OPTION.findall(question))
    return found if "\nA." in question and list(found) == list(_LETTERS[: len(found)]) else {}
