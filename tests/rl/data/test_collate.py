"""Columns and images of a micro-batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rl.data.collate import ImageStore
from rl.data.tree import Branch, Tree
from rl.errors import DataError
from tests.rl.models.trees import picture, small


def test_columns_follow_the_branches(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    chosen = Branch(
        uid="c", token_ids=(40, 41), columns={"label": True, "reference_logps": (-1.0, -2.0, -3.0)}
    )
    rejected = Branch(
        uid="r",
        token_ids=(42, 43),
        trained=(False, True),
        columns={"label": False, "reference_logps": (-4.0,)},
    )
    pair = Tree(
        uid="p",
        trunk_ids=(30, 31, 32),
        trunk_trained=(False, True, False),
        branches=(chosen, rejected),
        is_pair=True,
    )
    [batch] = model.batches([pair])
    assert batch.input_ids.tolist() == [[30, 31, 32, 40, 41, 42, 43]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4]]
    assert batch.target_N.tolist() == [31, 40, 41, 43]
    assert batch.predict_N.tolist() == [0, 2, 3, 5]
    assert batch.branch_N.tolist() == [0, 0, 0, 1]
    sees = batch.attention[0, 0] == 0
    assert sees[6].tolist() == [True, True, True, False, False, True, True]
    tree_batch = batch.tree_batch(torch.zeros(4))
    assert tree_batch.reference_logp_N.tolist() == [-1, -2, -3, -4]
    assert tree_batch.label_B.tolist() == [True, False]
    assert tree_batch.pair_B is not None
    assert tree_batch.pair_B.tolist() == [0, 0]
    assert set(tree_batch.columns) == {"label", "reference_logps"}


def test_a_column_that_only_some_branches_have_is_an_error(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    tree = model.tree(1)
    first = tree.branches[0].with_columns(advantage=1.0)
    [batch] = model.batches([replace(tree, branches=(first, *tree.branches[1:]))])
    with pytest.raises(DataError, match="no advantage"):
        batch.tree_batch(torch.zeros(len(batch.target_N)))


def test_the_first_token_has_no_predictor(tiny_qwen3: Path) -> None:
    tree = replace(small(tiny_qwen3).tree(1), trunk_ids=(30, 31), trunk_trained=(True, False))
    with pytest.raises(DataError, match="first token"):
        small(tiny_qwen3).batches([tree])


def test_images_are_kept_by_content_up_to_a_limit(tiny_qwen3vl: Path) -> None:
    spec = small(tiny_qwen3vl).spec
    pictures = [picture(64, 64, seed) for seed in range(5)]
    [one] = ImageStore(spec).get(pictures[:1])
    room = sum(value.nbytes for value in one.values())
    store = ImageStore(spec, max_bytes=3 * room)
    first = store.get(pictures)
    assert store.bytes == 3 * room
    again = store.get([*pictures[::-1], pictures[0]])
    for a, b in zip(first[::-1], again, strict=False):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert store.get([pictures[0]])[0] is store.get([pictures[0]])[0]
