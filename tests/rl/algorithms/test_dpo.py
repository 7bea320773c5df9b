from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import logsigmoid

from rl.algorithms.base import Denominators, Loss
from rl.algorithms.dpo import DPO, VARIANTS, Variant
from rl.batch import TreeBatch
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.batches import OneRank, Table, collate

PAIRS = st.lists(
    st.tuples(*[st.lists(st.floats(-5, 0), min_size=1, max_size=5)] * 2), min_size=1, max_size=4
)
ONE = Denominators(tokens=1, branches=1, pairs=1)


def pair_batch(pairs: list[tuple[list[float], list[float]]], swap: bool = False) -> TreeBatch:
    """Chosen first; reference log-probs are all -1. `swap` turns the labels, not the order."""
    branches = [logps for pair in pairs for logps in pair]
    lengths = torch.tensor([len(logps) for logps in branches])
    policy_N = torch.tensor([x for logps in branches for x in logps], dtype=torch.float64)
    return TreeBatch(
        policy_logp_N=policy_N.requires_grad_(),
        branch_N=torch.arange(len(branches)).repeat_interleave(lengths),
        num_branches=len(branches),
        columns={
            "reference_logps": torch.full_like(policy_N, -1.0),
            "label": torch.tensor([True, False] * len(pairs)) ^ swap,
        },
        pair_B=torch.arange(len(pairs)).repeat_interleave(2),
    )


def share(loss: Loss, name: str) -> float:
    total, count = loss.metrics[name]
    return total / count


def test_the_formula() -> None:
    batch = pair_batch([([-0.5, -0.5], [-3.0]), ([-1.0], [-0.25])])
    margins_P = torch.tensor([1.0 - (-2.0), 0.0 - 0.75], dtype=torch.float64)
    loss = DPO(beta=0.5).loss(batch, Denominators(tokens=3, branches=4, pairs=2))
    torch.testing.assert_close(loss.value, -logsigmoid(0.5 * margins_P).sum() / 2)
    assert share(loss, "rewards/accuracies") == 0.5
    assert share(loss, "rewards/margins") == pytest.approx(0.5 * (3.0 - 0.75) / 2)


@given(pairs=PAIRS)
def test_swapped_labels_turn_accuracy_and_margin(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    straight, swapped = (DPO().loss(pair_batch(pairs, swap), ONE) for swap in (False, True))
    margin, turned = (share(loss, "rewards/margins") for loss in (straight, swapped))
    assert turned == pytest.approx(-margin, abs=1e-9)
    ties = sum(sum(x + 1 for x in a) == sum(x + 1 for x in b) for a, b in pairs) / len(pairs)
    accuracies = [share(loss, "rewards/accuracies") for loss in (straight, swapped)]
    assert sum(accuracies) <= 1 + 1e-9
    if not ties and all(abs(sum(a) + len(a) - sum(b) - len(b)) > 1e-6 for a, b in pairs):
        assert sum(accuracies) == pytest.approx(1)


@given(pairs=PAIRS, smoothing=st.floats(0.01, 0.49))
def test_smoothing_mixes_the_two_labellings(
    pairs: list[tuple[list[float], list[float]]], smoothing: float
) -> None:
    def value(dpo: DPO, swap: bool) -> Tensor:
        return dpo.loss(pair_batch(pairs, swap), ONE).value

    straight, swapped = value(DPO(), False), value(DPO(), True)
    mixed = (1 - smoothing) * straight + smoothing * swapped
    torch.testing.assert_close(value(DPO(label_smoothing=smoothing), False), mixed)
    # Robust: the expectation over labels flipped with that probability is the clean loss.
    robust = DPO(variant="robust", label_smoothing=smoothing)
    expected = (1 - smoothing) * value(robust, False) + smoothing * value(robust, True)
    torch.testing.assert_close(expected, straight)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_prefers_the_chosen_answer(variant: Variant) -> None:
    batch = pair_batch([([-2.0], [-2.0])])
    DPO(variant=variant).loss(batch, ONE).value.backward()
    chosen, rejected = batch.policy_logp_N.grad
    assert chosen - rejected < 0


def test_ld_alpha_weighs_the_longer_tail() -> None:
    batch = pair_batch([([-2.0, -2.0, -2.0], [-3.0])])
    weight_N = DPO(ld_alpha=0.25).length_weight_N(batch)
    assert weight_N.tolist() == [1.0, 0.25, 0.25, 1.0]


def tree(number: int) -> Tree:
    return Tree(
        uid=str(number),
        trunk_ids=(number,),
        is_pair=True,
        branches=(
            Branch(uid=f"{number}/w", token_ids=(1, 2, 3), columns={"label": True}),
            Branch(uid=f"{number}/l", token_ids=(4, 5), columns={"label": False}),
        ),
    )


def test_prepare_counts_pairs_and_chosen_tokens_and_keeps_cached_references() -> None:
    cached = tuple(
        b.with_columns(reference_logps=(-9.0,) * b.num_trained) for b in tree(0).branches
    )
    step = OneRank([replace(tree(0), branches=cached), tree(1)], Table(1), Table(2))
    DPO().prepare(step)
    denominators = DPO().denominators(step)
    assert (denominators.pairs, denominators.tokens) == (2, 6)
    assert step.reference_calls == 1
    assert step.trees[0].branches == cached
    assert all(b.reference_logps is not None for b in step.trees[1].branches)

    again = OneRank(step.trees, Table(1), Table(2))
    DPO().prepare(again)
    assert again.reference_calls == 0
    loss = DPO().loss(collate(again.trees, Table(1)(again.trees)), denominators)
    assert loss.value.requires_grad


def test_smoothing_where_it_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValidationError, match="no meaning for variant 'hinge'"):
        DPO(variant="hinge", label_smoothing=0.1)
