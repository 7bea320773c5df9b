"""How many steps a stage does, and the sentence that says so."""

from typing import Any

import pytest

from recipes.running.steps import count_steps, describe_steps
from recipes.schema.train_stage import TrainStage


def stage(**keys: Any) -> TrainStage:
    return TrainStage.model_validate(
        {"name": "sft", "algorithm": "sft", "data": [{"path": "x"}], **keys}
    )


@pytest.mark.parametrize(
    ("keys", "rows", "said"),
    [
        ({}, 6000, "sft: 188 steps = 1 epoch of 6,000 rows (neither steps nor epochs given)"),
        ({"epochs": 2}, 6000, "sft: 375 steps = 2 epochs of 6,000 rows"),
        ({"steps": 1500}, 6000, "sft: 1,500 steps of 32 of 6,000 rows"),
        (
            {"epochs": 1},
            20,
            "sft: 1 step = 1 epoch of 20 rows; prompts_per_step (32) is larger than the 20 rows",
        ),
    ],
)
def test_the_sentence_names_the_default_that_holds(
    keys: dict[str, Any], rows: int, said: str
) -> None:
    assert describe_steps(stage(**keys), rows) == said


def test_the_sentence_counts_updates() -> None:
    several = stage(
        algorithm="grpo", rewards=["exact"], steps=10, updates={"minibatches": 2, "passes": 3}
    )
    assert describe_steps(several, 64) == "sft: 10 steps of 32 of 64 rows, 6 updates each"


def test_steps_come_before_epochs() -> None:
    assert count_steps(stage(steps=7), 1000) == 7
    assert count_steps(stage(epochs=0.5), 640) == 10
