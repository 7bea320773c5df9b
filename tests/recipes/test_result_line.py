"""The line that the console shows of a result."""

from typing import Any

import pytest

from recipes.running.assess import result_line, select_line


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            {"value": 0.5, "interval": [0.4, 0.6], "random_baseline": 0.25, "n": 9},
            "sft: ai2d accuracy 50.0 % [40.0, 60.0] (guessing: 25.0 %)",
        ),
        (
            {"value": 0.5, "interval": [0.4, 0.6], "random_baseline": None, "n": 9},
            "sft: ai2d accuracy 50.0 % [40.0, 60.0]",
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


def test_a_sum_is_written_with_its_maximum_and_commas() -> None:
    part = {"value": 1570.24, "interval": [1556.3, 1583.2], "max": 2800.0, "n": 9}
    against = {"stage": "base", "report": {"difference": -3.04, "p_value": 0.1, "verdict": "worse"}}
    result = {
        "benchmark": "mme",
        "primary": {"name": "total", "max": 2800.0, "unit": ""},
        "parts": {"report": part},
        "comparisons": {"parent": against},
        "gate": {"verdict": "pass"},
    }
    assert result_line("sft", result) == (
        "sft: mme total 1,570.2 of 2,800 [1,556.3, 1,583.2]; \u22123.0 against base "
        "(p = 0.1, worse); gate pass"
    )


def test_an_evaluation_within_a_stage_is_in_percent() -> None:
    assert select_line("grpo", 20, 0.2215) == "grpo step 20: select 22.1 %"
