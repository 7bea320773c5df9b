"""Rows of `prompt` (a text or turns) with `completion`, `chosen` and `rejected`, or references, as
TRL's data has them.
"""

from __future__ import annotations

from rl.data.row_formats.base import Flat

_BLOCKS = [{"type": "image", "image": "cat.jpg"}, {"type": "text", "text": "Which animal?"}]

PROMPT = Flat(
    name="prompt",
    key="prompt",
    may_be_turns=True,
    examples={
        "demonstration": {"prompt": [{"role": "user", "content": _BLOCKS}], "answer": "A cat"},
        "preference": {"prompt": "Who purrs?", "chosen": "A cat.", "rejected": "A dog."},
        "labelled": {"prompt": "Who purrs?", "completion": "A dog.", "label": False},
        "group": {"prompt": "Who purrs?", "references": ["A cat", "cats"]},
    },
)
