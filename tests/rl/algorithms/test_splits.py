"""Property: any split of a step over ranks and micro-batches, in any order, is the same step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.algorithms.base import Algorithm, Denominators, Loss
from rl.algorithms.dpo import DPO, VARIANTS
from rl.algorithms.grpo import GRPO
from rl.algorithms.kto import KTO
from rl.algorithms.mismatch import Mismatch
from rl.algorithms.sft import SFT
from rl.batch import TreeBatch
from rl.data.tree import Branch, Tree
from rl.learners.updates import Part, Updates, split
from rl.plugins import find, name_of, names
from rl.runs.metrics import describe
from tests.rl.algorithms.batches import ALL, Ranks, Table, collate

ALGORITHMS: list[Algorithm] = [
    *(find("rl.algorithms", name)() for name in names("rl.algorithms")),
    SFT(dft=True),
    *(DPO(variant=variant) for variant in VARIANTS),
    DPO(rpo_alpha=0.7, ld_alpha=0.4),
    KTO(desirable_weight=1.2),
    KTO(variant="apo_zero_unpaired"),
    GRPO(kl_coef=0.2),
    GRPO(scale="batch", train_truncated=True, drop_equal_groups=False, mismatch=None),
    GRPO(normalise="grpo", mismatch=Mismatch(sequence_mask=(0.9, 1.1), token_limit=1.1)),
    GRPO(normalise="dr_grpo", length_limit=6, scale="none"),
]
IDS = [f"{name_of(algorithm)}-{index}" for index, algorithm in enumerate(ALGORITHMS)]


def make_trees(kind: str, seed: int) -> list[Tree]:
    """A step of some rows: prompts, lengths, labels, rewards, flags all drawn."""
    rng = random.Random(seed)
    trees = []
    for number in range(rng.randint(2, 7)):
        count = {"demonstration": 1, "labelled": 1, "preference": 2, "group": 4}[kind]
        trees.append(
            Tree(
                uid=str(number),
                trunk_ids=(number, 1, 2),
                branches=tuple(
                    make_branch(rng, f"{number}/{i}", i == 0 if kind == "preference" else None)
                    for i in range(count)
                ),
                is_pair=kind == "preference",
            )
        )
    return trees


def make_branch(rng: random.Random, uid: str, label: bool | None) -> Branch:
    length = rng.randint(1, 6)
    logps = [rng.uniform(-2, 0) for _ in range(length)]
    return Branch(
        uid=uid,
        token_ids=tuple(rng.randrange(100) for _ in range(length)),
        columns={
            "behavior_logps": tuple(logp + rng.uniform(-0.1, 0.1) for logp in logps),
            "old_logps": tuple(logps),
            "label": rng.random() < 0.5 if label is None else label,
        },
        reward=rng.choice([0.0, 0.0, 1.0, 0.5, None]),
        is_truncated=rng.random() < 0.2,
    )


def run(
    algorithm: Algorithm, shares: Sequence[list[Tree]], cuts: int, part: Part = ALL
) -> tuple[float, dict[Any, torch.Tensor], dict[str, tuple[float, float]]]:
    """Loss, gradient and metrics of an update: each rank cuts its trees into micro-batches."""
    policy, reference = Table(1), Table(2)
    trees_of, denominators_of = Ranks(shares, policy, reference).prepare(algorithm, part)
    value, metrics = 0.0, dict[str, tuple[float, float]]()
    for trees, denominators in zip(trees_of, denominators_of, strict=True):
        for start in range(0, len(trees), max(1, cuts)):
            cut = trees[start : start + max(1, cuts)]
            loss = algorithm.loss(collate(cut, policy(cut)), denominators)
            loss.value.backward()
            value += loss.value.item()
            for name, (total, count) in loss.metrics.items():
                seen = metrics.get(name, (0.0, 0.0))
                metrics[name] = (seen[0] + total, seen[1] + count)
    return value, policy.gradient(), metrics


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=IDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_split_is_the_same_update(algorithm: Algorithm, data: st.DataObject) -> None:
    """Of the whole step, and of one of the mini-batches of a step of several updates."""
    trees = make_trees(algorithm.needs.reading, data.draw(st.integers(0, 10_000)))
    trees = algorithm.arrange(trees)
    updates = Updates(minibatches=data.draw(st.integers(1, 3)))
    part = data.draw(st.sampled_from(split([tree.uid for tree in trees], updates, "0/1")))
    whole = run(algorithm, [trees], len(trees), part)

    order = data.draw(st.permutations(trees))
    cut = data.draw(st.integers(0, len(trees)))
    parts = run(algorithm, [order[:cut], order[cut:]], data.draw(st.integers(1, 3)), part)

    assert parts[0] == pytest.approx(whole[0], rel=1e-6, abs=1e-9)
    assert parts[1].keys() == whole[1].keys()
    for key, gradient in whole[1].items():
        difference = (parts[1][key] - gradient).norm()
        assert difference <= 1e-6 * gradient.norm() + 1e-12
    for name, (total, count) in whole[2].items():
        own = algorithm.own_metrics
        assert describe(name, own), f"metric {name} is not declared in the algorithm's own_metrics"
        assert parts[2][name] == pytest.approx((total, count), rel=1e-5, abs=1e-5)


def test_the_property_catches_a_mean_of_micro_batch_means() -> None:
    class MeanOfMeans(SFT):
        def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
            return Loss(-batch.policy_logp_N.mean())

    trees = make_trees("demonstration", seed=3)
    whole = run(MeanOfMeans(), [trees], cuts=len(trees))
    parts = run(MeanOfMeans(), [trees], cuts=1)
    assert parts[0] != pytest.approx(whole[0], rel=1e-2)
