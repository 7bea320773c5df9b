"""Columns: what a branch carries under any name reaches the loss, by that name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rl.batch import MicroBatch, TreeBatch
from rl.data.tree import Branch
from rl.errors import DataError


def batch_of(*branches: Branch) -> TreeBatch:
    """The branches as one micro-batch without a model."""
    lengths = torch.tensor([branch.num_trained for branch in branches])
    nothing = torch.zeros(0, dtype=torch.long)
    made = MicroBatch(
        input_ids=nothing,
        attention=None,
        positions=None,
        images=None,
        image_order=(),
        own_positions={},
        predict_N=nothing,
        target_N=nothing,
        branch_N=torch.arange(len(branches)).repeat_interleave(lengths),
        branches=branches,
        owners=tuple((i, 0) for i in range(len(branches))),
        pair_B=(-1,) * len(branches),
    )
    return made.tree_batch(torch.zeros(int(lengths.sum())))


def branch(length: int, **columns: Any) -> Branch:
    return Branch(uid="a", token_ids=(7,) * length, columns=columns)


def test_a_new_column_needs_no_other_file() -> None:
    batch = batch_of(
        branch(2, value=(0.5, 0.25), score=3, is_easy=True),
        branch(1, value=(1.0,), score=0.5, is_easy=False),
    )
    assert batch.column("value").tolist() == [0.5, 0.25, 1.0]
    assert batch.column("score").tolist() == [3.0, 0.5]
    assert batch.column("is_easy").tolist() == [True, False]
    assert batch.column("value").dtype == batch.column("score").dtype == torch.float32
    assert batch.pair_B is None


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    batch = batch_of(branch(1, score=1.0))
    with pytest.raises(LookupError, match=r"no column 'value', only: score"):
        batch.column("value")
    with pytest.raises(LookupError, match="no preference pairs"):
        batch.by_pair(torch.zeros(1))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"value": (1.0, 2.0)}, {}, "no value, though other branches"),
        ({"value": (1.0,)}, {"value": (1.0,)}, "1 value for 2 trained tokens"),
        ({"value": (1.0, 2.0)}, {"value": 1.0}, "1 value for 1 trained tokens; expected one entry"),
    ],
)
def test_a_column_that_does_not_fit_is_an_error(
    first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        batch_of(branch(2, **first), branch(1, **second))
