"""Rows of `query`, `response` and `rejected_response`, as ms-swift's older data has them."""

from __future__ import annotations

from rl.data.row_formats.base import Flat

QUERY = Flat(
    name="query",
    key="query",
    examples={
        "demonstration": {
            "query": "Which animal purrs?",
            "response": "A cat",
            "system": "Be brief.",
        },
        "preference": {
            "query": "Which animal purrs?",
            "response": "A cat",
            "rejected_response": "A dog",
        },
        "labelled": {"query": "Which animal purrs?", "response": "A dog", "label": False},
    },
)
