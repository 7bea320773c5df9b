"""The line that the console shows of a result."""

from typing import Any

import pytest

from recipes.running.assess import result_line


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            {"value": 0.5, "interval": [0.4, 0.6], "random_baseline": 0.25, "n": 9},
            "sft: ai2d accuracy 0.5 of 1 [0.4, 0.6] (guessing: 0.25)",
        ),
        (
            {"value": 0.5, "interval": [0.4, 0.6], "random_baseline": None, "n": 9},
            "sft: ai2d accuracy 0.5 of 1 [0.4, 0.6]",
        ),
        (
            {"value": None, "interval": None, "random_baseline": None, "n": 9},
            "sft: ai2d accuracy no score: all 9 answers are errors",
        ),
    ],
)
def test_the_score_stands_beside_what_guessing_gives(part: dict[str, Any], told: str) -> None:
    primary = {"name": "accuracy", "max": 1.0}
    result = {"benchmark": "ai2d", "primary": primary, "parts": {"report": part}}
    assert result_line("sft", {**result, "comparisons": {}}) == told
