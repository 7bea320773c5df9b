"""Oracle: loss and gradient of SFT, DPO and KTO equal TRL 1.16's on the same tiny VLM batch."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rl.algorithms.dpo import DPO
from rl.algorithms.kto import KTO, rotate_answers
from rl.algorithms.sft import SFT
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.oracle import (
    Oracle,
    assert_same,
    case_id,
    dataset,
    settings,
    source,
    trees_of,
)


def batch_of(trainer: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = trainer.data_collator(list(trainer.train_dataset))
    return inputs


@pytest.mark.parametrize("loss_type", ["nll", "dft"])
def test_sft(oracle: Oracle, tmp_path: Path, loss_type: str) -> None:
    from trl import SFTConfig, SFTTrainer

    rows = oracle.rows(4)
    trainer = SFTTrainer(
        model=copy.deepcopy(oracle.policy),
        args=SFTConfig(**settings(tmp_path, 4, loss_type=loss_type)),
        train_dataset=dataset(rows, {"prompt": "prompt", "completion": "answer"}),
        processing_class=oracle.processor,
    )
    inputs = batch_of(trainer)
    seen = {**inputs, "completion_mask": (inputs["labels"] != -100).long()}
    trees = [
        Tree(
            uid=str(i),
            trunk_ids=prompt,
            images=(source(i),),
            branches=(Branch(uid=str(i), token_ids=answer),),
        )
        for i, (prompt, answer) in enumerate(trees_of(seen))
    ]
    ours = oracle.ours(SFT(dft=loss_type == "dft"), trees)
    assert_same(ours, oracle.theirs(trainer, dict(inputs)))


DPO_VARIANTS: list[tuple[DPO, dict[str, Any]]] = [
    (DPO(), {}),
    (DPO(beta=0.4, variant="sigmoid"), {"beta": 0.4}),
    (DPO(variant="ipo"), {"loss_type": ["ipo"]}),
    (DPO(variant="hinge"), {"loss_type": ["hinge"]}),
    (DPO(variant="robust", label_smoothing=0.1), {"loss_type": ["robust"], "label_smoothing": 0.1}),
    (DPO(variant="apo_zero"), {"loss_type": ["apo_zero"]}),
    (DPO(variant="apo_down"), {"loss_type": ["apo_down"]}),
    (DPO(variant="sigmoid_norm"), {"loss_type": ["sigmoid_norm"]}),
    (DPO(rpo_alpha=0.5), {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
    (DPO(ld_alpha=0.3), {"ld_alpha": 0.3}),
]


@pytest.mark.parametrize(
    ("algorithm", "own"),
    DPO_VARIANTS,
    ids=case_id,
)
def test_dpo(oracle: Oracle, tmp_path: Path, algorithm: DPO, own: dict[str, Any]) -> None:
    from trl import DPOConfig, DPOTrainer

    rows = oracle.rows(4)
    trainer = DPOTrainer(
        model=copy.deepcopy(oracle.policy),
        ref_model=copy.deepcopy(oracle.reference),
        args=DPOConfig(**settings(tmp_path, 4, **own)),
        train_dataset=dataset(rows, {"prompt": "prompt", "chosen": "answer", "rejected": "other"}),
        processing_class=oracle.processor,
    )
    inputs = batch_of(trainer)
    parts = list(trees_of(inputs))
    trees = [
        Tree(
            uid=str(i),
            trunk_ids=parts[i][0],
            images=(source(i),),
            branches=(
                Branch(uid=f"{i}/chosen", token_ids=parts[i][1], columns={"label": True}),
                Branch(uid=f"{i}/rejected", token_ids=parts[i + 4][1], columns={"label": False}),
            ),
            is_pair=True,
        )
        for i in range(4)
    ]
    ours = oracle.ours(algorithm, trees)
    assert_same(ours, oracle.theirs(trainer, dict(inputs)))
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        total, count = ours[2][name]
        assert total / count == pytest.approx(trainer._metrics["train"][name][-1], rel=1e-3), name


@pytest.mark.parametrize("is_clamped", [False, True])
def test_kto(oracle: Oracle, tmp_path: Path, is_clamped: bool) -> None:
    """z has one sign as given and the other with policy and reference swapped: both are compared,
    the one that is above 0 and the one that the clamp holds at 0.
    """
    swapped = replace(oracle, policy=oracle.reference, reference=oracle.policy)
    zs = {}
    for way in (oracle, swapped):
        loss, z, their_z = kto_both(way, tmp_path, "kto")
        assert z == pytest.approx(their_z, abs=1e-5)
        zs[their_z > 0] = loss
    assert set(zs) == {False, True}
    assert_same(*zs[not is_clamped])


def test_unpaired_apo(oracle: Oracle, tmp_path: Path) -> None:
    loss, _, _ = kto_both(oracle, tmp_path, "apo_zero_unpaired")
    assert_same(*loss)


def kto_both(oracle: Oracle, tmp_path: Path, variant: Any) -> tuple[Any, float, float]:
    """((ours, theirs), our z, their z) of one batch."""
    from trl import KTOConfig, KTOTrainer

    rows = oracle.rows(5)
    labels = [True, False, False, True, True]
    weights = {"desirable_weight": 0.8, "undesirable_weight": 1.3}
    trainer = KTOTrainer(
        model=copy.deepcopy(oracle.policy),
        ref_model=copy.deepcopy(oracle.reference),
        args=KTOConfig(**settings(tmp_path, 5, loss_type=variant, **weights)),
        train_dataset=dataset(rows, {"prompt": "prompt", "completion": "answer"}, label=labels),
        processing_class=oracle.processor,
    )
    inputs = batch_of(trainer)
    trees = [
        Tree(
            uid=str(i),
            trunk_ids=prompt,
            images=(source(i),),
            branches=(Branch(uid=str(i), token_ids=answer, columns={"label": labels[i]}),),
        )
        for i, (prompt, answer) in enumerate(trees_of(inputs))
    ]
    trees = rotate_answers(trees)
    if variant == "kto":
        for tree, (prompt, mismatched) in zip(trees, trees_of(inputs, "KL_"), strict=True):
            assert tree.mismatched is not None
            assert (tree.trunk_ids, tree.mismatched.token_ids) == (prompt, mismatched)
    ours = oracle.ours(KTO(variant=variant, **weights), trees)
    theirs = oracle.theirs(trainer, dict(inputs))
    their_z = float(trainer._metrics["train"]["kl"][-1])
    return (ours, theirs), float(ours[2]["kto/z"][0]), their_z
