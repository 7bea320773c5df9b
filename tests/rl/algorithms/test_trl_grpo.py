"""Oracle: loss and gradient of GRPO equal TRL 1.16's, also in every update of a step of several."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.algorithms.advantages import has_no_signal, rewards_of
from rl.algorithms.base import fill_old_logps
from rl.algorithms.grpo import GRPO
from rl.data.tree import Branch, Tree
from rl.learners.updates import Part, Updates, split
from tests.rl.algorithms.batches import OneRank
from tests.rl.algorithms.oracle import (
    ANSWERS,
    Oracle,
    assert_same,
    case_id,
    dataset,
    settings,
    source,
)

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
AS_TRL: dict[str, Any] = {
    "clip_low": 0.2,
    "clip_high": 0.2,
    "mismatch": None,
    "train_truncated": True,
    "drop_equal_groups": False,
}
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
    tokenizer = oracle.processor.tokenizer
    answers = [tokenizer(ANSWERS[i % 6])["input_ids"] for i in range(8)]
    answers = [ids + [tokenizer.eos_token_id] * (i != 2) for i, ids in enumerate(answers)]
    trainer = grpo_trainer(oracle, tmp_path, 2, answers, REWARDS, steps_per_generation=1, **trl_own)
    inputs = trainer.generate()
    trees = grpo_trees(inputs, answers, REWARDS, truncated=2)
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
    ours = oracle.ours(GRPO(**AS_TRL, **ours_own), trees)
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


def grpo_trainer(
    oracle: Oracle,
    tmp_path: Path,
    groups: int,
    answers: list[list[int]],
    rewards: list[float | None],
    **own: Any,
) -> Any:
    """TRL's trainer, whose `generate` gives its inputs of these answers."""
    from trl import GRPOConfig, GRPOTrainer

    rows, each = oracle.rows(groups), len(answers) // groups
    batch = len(answers) // own["steps_per_generation"]
    arguments = settings(tmp_path, batch, num_generations=each, max_completion_length=24)
    del arguments["max_length"]
    trainer = GRPOTrainer(
        model=copy.deepcopy(oracle.policy),
        reward_funcs=lambda completions, **_: list(rewards),
        args=GRPOConfig(**{**arguments, "loss_type": "dapo", **own}),
        train_dataset=dataset(rows, {"prompt": "prompt"}),
        processing_class=oracle.processor,
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer._generate_single_turn = lambda *_: (answers, None)
    trainer.generate = lambda: trainer._generate_and_score_completions(
        [row for row in rows for _ in range(each)]
    )
    return trainer


def grpo_trees(
    inputs: dict[str, Any],
    answers: list[list[int]],
    rewards: list[float | None],
    *,
    each: int = 4,
    truncated: int | None = None,
) -> list[Tree]:
    """The groups of `each` answers, under the prompts that TRL made."""
    prompts = [
        tuple(ids[seen == 1].tolist())
        for ids, seen in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)
    ]
    return [
        Tree(
            uid=str(g),
            trunk_ids=prompts[each * g],
            images=(source(g),),
            branches=tuple(
                Branch(
                    uid=f"{g}/{i}",
                    token_ids=tuple(answers[i]),
                    reward=rewards[i],
                    is_truncated=i == truncated,
                )
                for i in range(each * g, each * g + each)
            ),
        )
        for g in range(len(answers) // each)
    ]


# Every group has 10 tokens, so that all mini-batches of two groups have equally many: TRL's `dapo`
# divides by the mean over the mini-batches.
LENGTHS = [3, 7, 6, 4, 5, 5, 8, 2]
STEP_REWARDS = [1.0, 0.0, 0.25, 1.0, 0.5, 0.5, 0.0, 0.75]


@pytest.mark.parametrize(("ours_own", "trl_own"), GRPO_CASES, ids=case_id)
def test_every_update_of_a_step(
    oracle: Oracle, tmp_path: Path, ours_own: dict[str, Any], trl_own: dict[str, Any]
) -> None:
    """Two passes over two mini-batches, prepared once under the weights that sampled. Before each
    update both sides have the same weights, which the update then moves as far as the clip.
    """
    rng, updates = random.Random(0), Updates(minibatches=2, passes=2)
    answers = [[rng.randrange(20, 200) for _ in range(length)] for length in LENGTHS]
    own = {"steps_per_generation": 2, "num_iterations": 2, **trl_own}
    trainer = grpo_trainer(oracle, tmp_path, 4, answers, [*STEP_REWARDS], **own)
    generated = trainer.generate()
    trees = grpo_trees(generated, answers, [*STEP_REWARDS], each=2)

    algorithm, policy = GRPO(**AS_TRL, **ours_own), copy.deepcopy(oracle.policy)
    step = OneRank(trees, oracle.logps_of(policy), oracle.logps_of(oracle.reference))
    algorithm.prepare(step)
    fill_old_logps(step)
    old = [list(b.old_logps or ()) for tree in step.trees for b in tree.branches]
    for mine, row in zip(old, generated["old_per_token_logps"], strict=True):
        assert mine == pytest.approx(row[: len(mine)].tolist(), abs=1e-5)
    longest = max(LENGTHS)
    generated["old_per_token_logps"] = torch.tensor([a + [0.0] * (longest - len(a)) for a in old])

    clipped = []
    for part in split([tree.uid for tree in step.trees], updates, "0/1"):
        ours = replace(oracle, policy=policy).ours(algorithm, part.of(step.trees))
        trainer.model.load_state_dict(policy.state_dict())
        # The first update's loss is 0 in exact arithmetic, a sum of advantages around 0.7: its
        # rounding is held against the size of its terms.
        smallest = 1e-2 if clipped else 0.1
        assert_same(ours, oracle.theirs(trainer, some_rows(generated, part)), smallest=smallest)
        theirs = float(trainer._metrics["train"]["clip_ratio/region_mean"][-1])
        assert mean(ours[2]["clip_frac"]) == pytest.approx(theirs)
        clipped.append(theirs)
        with torch.no_grad():
            for name, weight in policy.named_parameters():
                if name in ours[1] and weight.numel() > 1:
                    weight.sub_(0.03 * weight.std() * ours[1][name].sign())
    assert clipped[0] == 0
    assert min(clipped[2:]) > 0


def some_rows(inputs: dict[str, Any], part: Part) -> dict[str, Any]:
    """TRL's inputs of the groups of one mini-batch, cut with TRL's own functions."""
    from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

    rows = [2 * int(uid) + i for uid in sorted(part.uids or ()) for i in range(2)]
    cut: dict[str, Any] = {}
    for name, value in split_pixel_values_by_grid(dict(inputs)).items():
        if isinstance(value, torch.Tensor):
            cut[name] = value[rows] if value.ndim else value
        else:
            cut[name] = [value[i] for i in rows] if isinstance(value, list | tuple) else value
    return unsplit_pixel_values_by_grid(cut)


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
