"""Columns of branches, and the one maker of a tree from sampled answers."""

from __future__ import annotations

import pytest

from rl.core import Completion, Image, ImageSource, Message, Rollout, Sample, Score, Text
from rl.data.tree import Branch, Tree, rollout_tree
from rl.errors import DataError

RED, BLUE = ImageSource(data=b"red"), ImageSource(data=b"blue")


def rollout(*marks: int) -> Rollout:
    """Two answers to a prompt whose marks name the images in this order."""
    parts = (*(Image(mark) for mark in marks), Text("Which is left?"))
    sample = Sample("u", (Message("user", parts),), (RED, BLUE))
    completions = (
        Completion((7, 8), (-0.5, -0.25), "red", "stop"),
        Completion((9,), (-1.0,), "b", "length"),
    )
    return Rollout(sample, (1, 2, 3), completions)


def test_a_rollout_is_a_tree_with_the_engine_s_own_tokens() -> None:
    tree = rollout_tree(rollout(0, 1), [Score(1.0), Score(None, "error", "hung")])
    assert tree.trunk_ids == (1, 2, 3)
    assert [branch.uid for branch in tree.branches] == ["u/0", "u/1"]
    assert [branch.token_ids for branch in tree.branches] == [(7, 8), (9,)]
    assert [branch.behavior_logps for branch in tree.branches] == [(-0.5, -0.25), (-1.0,)]
    assert [branch.reward for branch in tree.branches] == [1.0, None]
    assert [branch.is_truncated for branch in tree.branches] == [False, True]


def test_images_are_in_the_order_of_their_marks() -> None:
    assert rollout_tree(rollout(1, 0)).images == (BLUE, RED)
    with pytest.raises(DataError, match="2 image marks, 2 images"):
        rollout_tree(rollout(0, 2))


def test_without_scores_there_is_no_reward() -> None:
    assert [branch.reward for branch in rollout_tree(rollout(0, 1)).branches] == [None, None]


def test_trees_are_keys_whatever_their_columns_are() -> None:
    """The parity gate looks trees up in a dict; a column may be anything."""
    bare = Branch(uid="a", token_ids=(1,))
    full = bare.with_columns(score=1.0)
    assert hash(bare) == hash(full)
    assert bare != full
    assert len({Tree(uid="a", trunk_ids=(1,), branches=(b,)) for b in (bare, full, bare)}) == 2


def test_a_tree_takes_one_value_for_each_branch() -> None:
    tree = rollout_tree(rollout(0, 1))
    with pytest.raises(ValueError, match="zip"):
        tree.with_column("advantage", [1.0])
