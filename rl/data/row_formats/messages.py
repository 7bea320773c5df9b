"""Rows of `messages`, turns of `role` and `content`, as chat templates take them."""

from __future__ import annotations

from rl.data.row_formats.base import Turns

_ASKED = {"role": "user", "content": "<image>What is this?"}

MESSAGES = Turns(
    name="messages",
    key="messages",
    examples={
        "demonstration": {
            "messages": [_ASKED, {"role": "assistant", "content": "A cat."}],
            "images": ["cat.jpg"],
        },
        "preference": {
            "messages": [_ASKED],
            "images": ["cat.jpg"],
            "chosen": "A cat.",
            "rejected": "A dog.",
        },
        "labelled": {
            "messages": [_ASKED],
            "images": ["cat.jpg"],
            "answer": "A cat.",
            "label": True,
        },
        "group": {"messages": [_ASKED], "images": ["cat.jpg"], "solution": "A cat"},
    },
)
