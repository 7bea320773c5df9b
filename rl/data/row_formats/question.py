"""Rows of `question` and `answer`, as most question-answering data has them."""

from __future__ import annotations

from rl.data.row_formats.base import Flat

QUESTION = Flat(
    name="question",
    key="question",
    examples={
        "demonstration": {"question": "Which animal purrs?", "answer": "A cat"},
        "preference": {
            "question": "Which animal purrs?",
            "answer": "A cat.",
            "rejected_response": "A dog.",
        },
        "group": {"question": "Which animal purrs?", "answers": ["A cat", "cats"]},
    },
)
