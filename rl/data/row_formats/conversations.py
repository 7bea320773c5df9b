"""Rows of `conversations`, turns of `from` and `value`, as LLaVA's and ShareGPT's data has them."""

from __future__ import annotations

from rl.data.row_formats.base import Turns

_ASKED = {"from": "human", "value": "<image>\nWhat is this?"}

CONVERSATIONS = Turns(
    name="conversations",
    key="conversations",
    examples={
        "demonstration": {
            "conversations": [_ASKED, {"from": "gpt", "value": "A cat."}],
            "image": "cat.jpg",
        },
        "preference": {
            "conversations": [_ASKED],
            "image": "cat.jpg",
            "chosen": {"from": "gpt", "value": "A cat."},
            "rejected": {"from": "gpt", "value": "A dog."},
        },
        "group": {"conversations": [_ASKED], "image": "cat.jpg", "references": ["A cat", "cat"]},
    },
)
