"""Oracle: loss and gradient equal TRL 1.16's on the same tiny VLM batch."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from datasets import List as ListFeature

from rl.algorithms.advantages import has_no_signal, rewards_of
from rl.algorithms.dpo import DPO
from rl.algorithms.grpo import GRPO
from rl.algorithms.kto import KTO, rotate_answers
from rl.algorithms.sft import SFT
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.oracle import ANSWERS, Oracle, assert_same, load_oracle, source, trees_of

TURN = ListFeature({"role": Value("string"), "content": Value("string")})


def case_id(case: Any) -> str:
    return ("-".join(case) or "plain") if isinstance(case, dict) else "ours"


@pytest.fixture(
    scope="module",
    params=[("tiny_qwen3vl", "plain"), ("tiny_qwen3vl", "tree"), ("tiny_llava", "tree")],
    ids=lambda parameter: "-".join(parameter),
)
def oracle(request: pytest.FixtureRequest) -> Oracle:
    checkpoint, layout = request.param
    return load_oracle(request.getfixturevalue(checkpoint), layout)


def settings(tmp_path: Path, batch: int, **own: Any) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": batch,
        "use_cpu": True,
        "report_to": "none",
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
        **own,
    }


def dataset(rows: list[dict[str, Any]], names: dict[str, str], **labels: list[bool]) -> Dataset:
    """TRL's columns from ours: `names` maps theirs to a row's key."""
    columns = {theirs: [row[ours] for row in rows] for theirs, ours in names.items()}
    features = dict.fromkeys(columns, TURN) | {name: Value("bool") for name in labels}
    return Dataset.from_dict(
        {**columns, **labels, "images": [row["images"] for row in rows]},
        features=Features({**features, "images": ListFeature(ImageFeature())}),
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


GRPO_CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"kl_coef": 0.3}, {"beta": 0.3}),
    ({"kl_coef": 0.3, "kl_bias_correction": False}, {"beta": 0.3, "use_bias_correction_kl": False}),
    ({"scale": "batch"}, {"scale_rewards": "batch"}),
    (
        {"scale": "none", "normalise": "dr_grpo", "length_limit": 24},
        {"scale_rewards": "none", "loss_type": "dr_grpo"},
    ),
    ({"normalise": "grpo"}, {"loss_type": "grpo"}),
    ({"delta": 1.5}, {"delta": 1.5}),
]
REWARDS = [1.0, 0.0, 0.25, None, 0.5, 0.5, 0.5, 0.5]  # the second group teaches nothing


@pytest.mark.parametrize(("ours_own", "trl_own"), GRPO_CASES, ids=case_id)
@pytest.mark.parametrize("off_policy", [False, True])
def test_grpo(
    oracle: Oracle,
    tmp_path: Path,
    ours_own: dict[str, Any],
    trl_own: dict[str, Any],
    off_policy: bool,
) -> None:
    from trl import GRPOConfig, GRPOTrainer

    rows = oracle.rows(2)
    own = {"num_generations": 4, "max_completion_length": 24, "loss_type": "dapo", **trl_own}
    arguments = settings(tmp_path, 8, steps_per_generation=1, **own)
    del arguments["max_length"]
    trainer = GRPOTrainer(
        model=copy.deepcopy(oracle.policy),
        reward_funcs=lambda completions, **_: list(REWARDS),
        args=GRPOConfig(**arguments),
        train_dataset=dataset(rows, {"prompt": "prompt"}),
        processing_class=oracle.processor,
    )
    trainer.current_gradient_accumulation_steps = 1
    tokenizer = oracle.processor.tokenizer
    answers = [tokenizer(ANSWERS[i % 6])["input_ids"] for i in range(8)]
    answers = [ids + [tokenizer.eos_token_id] * (i != 2) for i, ids in enumerate(answers)]
    trainer._generate_single_turn = lambda *_: (answers, None)
    inputs = trainer._generate_and_score_completions([row for row in rows for _ in range(4)])
    prompts = [
        tuple(ids[seen == 1].tolist())
        for ids, seen in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)
    ]
    trees = [
        Tree(
            uid=str(g),
            trunk_ids=prompts[4 * g],
            images=(source(g),),
            branches=tuple(
                Branch(
                    uid=f"{g}/{i}",
                    token_ids=tuple(answers[i]),
                    reward=REWARDS[i],
                    is_truncated=i == 2,
                )
                for i in range(4 * g, 4 * g + 4)
            ),
        )
        for g in range(2)
    ]
    if off_policy:
        trees = with_old(oracle, trees)
        longest = max(map(len, answers))
        inputs["old_per_token_logps"] = torch.tensor(
            [
                list(b.old_logps or ()) + [0.0] * (longest - len(b.token_ids))
                for tree in trees
                for b in tree.branches
            ]
        )
    algorithm = GRPO(
        clip_low=0.2,
        clip_high=0.2,
        mismatch=None,
        train_truncated=True,
        drop_equal_groups=False,
        **ours_own,
    )
    ours = oracle.ours(algorithm, trees)
    assert_same(ours, oracle.theirs(trainer, inputs))

    def theirs_of(name: str) -> float:
        return float(trainer._metrics["train"][name][-1])

    no_signal = [has_no_signal(rewards_of(tree)) for tree in trees]
    assert no_signal == [False, True]
    if off_policy:
        assert 0 < mean(ours[2]["clip_frac"]) < 1
        assert mean(ours[2]["clip_frac"]) == pytest.approx(theirs_of("clip_ratio/region_mean"))
    if "kl_coef" in ours_own and "kl_bias_correction" in ours_own:
        assert mean(ours[2]["kl"]) == pytest.approx(theirs_of("kl"), rel=1e-4)


def mean(metric: tuple[float, float]) -> float:
    return metric[0] / metric[1]


def with_old(oracle: Oracle, trees: list[Tree]) -> list[Tree]:
    """Old log-probs so far from the policy's that the clip takes hold on both sides."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        found = oracle.logps_of(oracle.policy)(trees)
    return [
        replace(
            tree,
            branches=tuple(
                branch.with_columns(
                    old_logps=tuple(
                        (logps + 0.5 * torch.randn(logps.shape, generator=generator)).tolist()
                    ),
                )
                for branch, logps in zip(tree.branches, of_tree, strict=True)
            ),
        )
        for tree, of_tree in zip(trees, found, strict=True)
    ]
