from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from rl.algorithms.base import Denominators
from rl.algorithms.sft import SFT
from rl.batch import TreeBatch
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.batches import OneRank, Table


def batch_of(logps: list[float]) -> TreeBatch:
    policy_N = torch.tensor(logps, dtype=torch.float64, requires_grad=True)
    return TreeBatch(
        policy_logp_N=policy_N,
        branch_N=torch.zeros(len(logps), dtype=torch.long),
        num_branches=1,
    )


def test_mean_over_the_tokens_of_the_step() -> None:
    loss = SFT().loss(batch_of([-1.0, -2.0]), Denominators(tokens=10, branches=1, pairs=0))
    assert loss.value.item() == pytest.approx(0.3)


def test_dft_weighs_by_the_detached_probability() -> None:
    batch = batch_of([-1.0, -2.0])
    loss = SFT(dft=True).loss(batch, Denominators(tokens=1, branches=1, pairs=0))
    loss.value.backward()
    weight_N = batch.policy_logp_N.detach().exp()
    torch.testing.assert_close(batch.policy_logp_N.grad, -weight_N)


def test_a_micro_batch_with_nothing_to_train_gives_a_differentiable_zero() -> None:
    batch = batch_of([])
    loss = SFT().loss(batch, Denominators(tokens=0, branches=0, pairs=0))
    assert loss.value.item() == 0
    loss.value.backward()


def test_trained_trunk_tokens_count() -> None:
    tree = Tree(
        uid="a",
        trunk_ids=(1, 2, 3),
        trunk_trained=(False, True, True),
        branches=(Branch(uid="a", token_ids=(4, 5, 6), trained=(True, False, True)),),
    )
    table = Table(0)
    assert SFT().denominators(OneRank([tree], table, table)).tokens == 4


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="dtf"):
        SFT.model_validate({"dtf": True})
