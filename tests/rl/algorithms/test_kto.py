from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rl.algorithms.base import Denominators
from rl.algorithms.kto import KTO, rotate_answers
from rl.batch import TreeBatch
from rl.core import ImageSource
from rl.data.tree import Branch, Tree
from rl.errors import DataError
from tests.rl.algorithms.batches import Logps, LogpsOf, OneRank


def row(prompt: int, uid: str, *, image: bytes | None = None, label: bool = True) -> Tree:
    answer = Branch(
        uid=uid, token_ids=(7, 8), columns={"label": label, "reference_logps": (-1.0, -1.0)}
    )
    images = () if image is None else (ImageSource(data=image),)
    return Tree(uid=uid, trunk_ids=(prompt,), images=images, branches=(answer,))


def rows(prompts: list[int]) -> list[Tree]:
    return [row(prompt, str(index)) for index, prompt in enumerate(prompts)]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=24))
def test_rotation_uses_each_answer_once_between_different_prompts(prompts: list[int]) -> None:
    assume(len(set(prompts)) > 1)
    trees = rows(prompts)
    rotated = rotate_answers(trees)
    assert sorted(tree.uid for tree in rotated) == sorted(tree.uid for tree in trees)

    ring = [tree for tree in rotated if tree.mismatched is not None]
    prompt_of = {tree.uid: tree.trunk_ids for tree in trees}
    for before, tree in zip([ring[-1], *ring[:-1]], ring, strict=True):
        assert tree.mismatched is not None
        assert tree.mismatched.uid == before.uid
        assert prompt_of[before.uid] != tree.trunk_ids
    most = max(Counter(prompts).values())
    assert len(rotated) - len(ring) == max(0, 2 * most - len(prompts))


@given(st.permutations(range(6)))
def test_an_order_that_serves_is_kept(prompts: list[int]) -> None:
    rotated = rotate_answers(rows(prompts))
    assert [tree.uid for tree in rotated] == [str(index) for index in range(6)]
    assert rotated[0].mismatched is not None
    assert rotated[0].mismatched.uid == "5"  # row 0 takes the last answer


def test_the_mismatched_answer_forgets_what_was_known_under_its_own_prompt() -> None:
    mismatched = rotate_answers(rows([1, 2]))[0].mismatched
    assert mismatched == Branch(uid="1", token_ids=(7, 8))


def test_one_question_about_two_images_is_two_prompts() -> None:
    trees = [row(1, "a", image=b"red"), row(1, "b", image=b"blue")]
    assert all(tree.mismatched is not None for tree in rotate_answers(trees))


@pytest.mark.parametrize("prompts", [[1], [1, 1, 1]])
def test_a_single_prompt_is_an_error(prompts: list[int]) -> None:
    with pytest.raises(DataError, match="single prompt"):
        rotate_answers(rows(prompts))


def test_a_step_that_was_not_rotated_is_an_error() -> None:
    step = OneRank(rows([1, 2]), flat(0.0), flat(0.0))
    with pytest.raises(DataError, match="rotate_answers"):
        KTO().denominators(step)


def flat(*by_prompt: float) -> LogpsOf:
    """A model whose every token under prompt p has log-prob by_prompt[p] (the last for others)."""

    def of_prompt(tree: Tree) -> float:
        return by_prompt[min(tree.trunk_ids[0], len(by_prompt) - 1)]

    def logps(trees: Sequence[Tree]) -> Logps:
        return [
            [torch.full((branch.num_trained,), of_prompt(tree)) for branch in tree.branches]
            for tree in trees
        ]

    return logps


@pytest.mark.parametrize(("policy", "z"), [((-0.5, -1.0), 0.5), ((-1.5, -1.0), 0.0)])
def test_z_is_the_mean_before_the_clamp(policy: tuple[float, float], z: float) -> None:
    """Two tokens an answer; the reference gives -1 a token: log-ratios +-1 and 0."""
    step = OneRank(rotate_answers(rows([0, 1])), flat(*policy), flat(-1.0))
    denominators = KTO().denominators(step)
    assert denominators.baseline == pytest.approx(z)
    assert denominators.metrics["kto/z"] == (pytest.approx(z), 1.0)
    assert denominators.branches == 2


def test_rows_without_a_mismatched_answer_stay_out_of_z_and_in_the_loss() -> None:
    trees = rotate_answers(rows([0, 0, 0, 1]))
    step = OneRank(trees, flat(-0.5, -1.0), flat(-1.0))
    denominators = KTO().denominators(step)
    assert denominators.baseline == pytest.approx(0.5)
    assert denominators.branches == 4


def batch_of(ratios: list[float], labels: list[bool]) -> TreeBatch:
    policy_N = torch.tensor(ratios, dtype=torch.float64)
    return TreeBatch(
        policy_logp_N=policy_N.requires_grad_(),
        branch_N=torch.arange(len(ratios)),
        num_branches=len(ratios),
        columns={"reference_logps": torch.zeros_like(policy_N), "label": torch.tensor(labels)},
    )


def test_the_formula() -> None:
    kto = KTO(beta=0.5, desirable_weight=2.0, undesirable_weight=3.0)
    loss = kto.loss(
        batch_of([1.0, 1.0], [True, False]),
        Denominators(tokens=2, branches=2, pairs=0, baseline=0.4),
    )
    sigmoid = 1 / (1 + math.exp(-0.5 * (1.0 - 0.4)))
    assert loss.value.item() == pytest.approx((2 * (1 - sigmoid) + 3 * sigmoid) / 2)


def test_gradients_point_up_for_desirable_and_down_for_undesirable_answers() -> None:
    batch = batch_of([0.3, 0.3], [True, False])
    KTO().loss(batch, Denominators(tokens=2, branches=2, pairs=0)).value.backward()
    desirable, undesirable = batch.policy_logp_N.grad
    assert desirable < 0 < undesirable


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_kind_only_is_fine_in_a_micro_batch(labels: list[bool]) -> None:
    loss = KTO().loss(batch_of([0.1, 0.2], labels), Denominators(tokens=2, branches=2, pairs=0))
    assert torch.isfinite(loss.value)
    assert {count for _, count in loss.metrics.values()} == {0.0, 2.0}


def test_the_variant_without_z_needs_no_rotation() -> None:
    kto = KTO(variant="apo_zero_unpaired")
    assert not kto.needs.reference_each_step
    assert kto.denominators(OneRank(rows([1]), flat(0.0), flat(0.0))).baseline == 0


def test_balance() -> None:
    assert KTO().balance_warning([True] * 6 + [False] * 5) is None
    assert KTO(undesirable_weight=0.5).balance_warning([True, False, False]) is None
    assert "1 desirable and 2 undesirable" in (KTO().balance_warning([True, False, False]) or "")
    assert KTO().balance_warning([True]) is not None


def test_rotation_leaves_the_rows_themselves_alone() -> None:
    trees = rows([1, 1, 2, 3])
    by_uid = {tree.uid: tree for tree in trees}
    for tree in rotate_answers(trees):
        assert replace(tree, mismatched=None) == by_uid[tree.uid]
