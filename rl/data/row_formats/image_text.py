"""Rows of `image`, `text` and an answer; without an answer the text is a prompt to sample from."""

from __future__ import annotations

from rl.data.row_formats.base import Flat

IMAGE_TEXT = Flat(
    name="image_text",
    key="text",
    may_be_turns=True,
    examples={
        "demonstration": {"image": "cat.jpg", "text": "Which animal?", "answer": "A cat"},
        "group": {"image": "cat.jpg", "text": "Which animal?", "solution": "A cat"},
    },
)
