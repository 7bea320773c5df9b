"""Rows of `instruction`, an optional `input`, and `output`, as Alpaca's data has them."""

from __future__ import annotations

from rl.data.row_formats.base import Flat

ALPACA = Flat(
    name="alpaca",
    key="instruction",
    more="input",
    examples={
        "demonstration": {
            "instruction": "Name the animal.",
            "input": "It purrs.",
            "output": "A cat",
        },
        "group": {"instruction": "Name an animal that purrs.", "output": "A cat"},
    },
)
