"""Steps that every learner must take alike, and the same steps by hand in plain torch."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rl.data.tree import Tree
from rl.learners.base import LearnerConfig, OptimPlan
from rl.learners.schedule import rate
from rl.models.load import file_weights
from tests.rl.models.trees import Small

CONFIG = LearnerConfig(row_tokens=100, tokens_per_microbatch=200, threads=1)
PLAN = OptimPlan(
    lr=1e-3,
    total_steps=4,
    warmup_steps=1,
    weight_decay=0.1,
    max_grad_norm=0.5,
    min_lr_ratio=0.1,
    eps=1e-5,  # at 1e-8 AdamW takes the sign of gradients that are rounding
)
TEN = replace(PLAN, total_steps=10)
ROW_BY_ROW = CONFIG.model_copy(update={"tokens_per_microbatch": CONFIG.row_tokens})

# Images of the trees of rank 0 and of rank 1, step after step.
SHARES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((2, 0, 1), (1,)),
    ((0, 2, 1), (0,)),  # a rank without images, for which the other's vision tower waits
    ((0, 0, 0), (2,)),
    ((0, 0), (0,)),  # no rank has an image: the tower's moments decay, and no old gradient returns
    ((1, 0, 2), ()),  # a rank without trees
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def sft_steps(model: Small) -> list[list[Tree]]:
    return [[model.tree(10 * step + i, branches=2) for i in range(6)] for step in range(4)]


def mixed_steps(model: Small, count: int = 10) -> list[tuple[list[Tree], list[Tree]]]:
    """What rank 0 and rank 1 learn from, step by step. Trees without images fill a row: with
    ROW_BY_ROW a micro-batch without images comes before those with them.
    """

    def share(step: int, rank: int) -> list[Tree]:
        images = SHARES[step % len(SHARES)][rank]
        seeds = range(100 * step + 10 * rank, 100 * step + 10 * rank + len(images))
        trees = [model.tree(s, branches=2, images=n) for s, n in zip(seeds, images, strict=True)]
        return [tree if tree.images else wordy(model, tree) for tree in trees]

    return [(share(step, 0), share(step, 1)) for step in range(count)]


def wordy(model: Small, tree: Tree) -> Tree:
    """The tree with as many words before it as fill a row."""
    count = CONFIG.row_tokens - tree.num_tokens
    words = tuple(model.words(random.Random(tree.uid), count))
    trained = None if tree.trunk_trained is None else (False,) * count + tree.trunk_trained
    return replace(tree, trunk_ids=words + tree.trunk_ids, trunk_trained=trained)


def plain_torch(
    path: Path,
    steps: Sequence[Sequence[Tree]],
    plan: OptimPlan = PLAN,
    *,
    config: LearnerConfig = CONFIG,
) -> tuple[list[float], dict[str, Tensor]]:
    """The steps by hand: AdamW in two groups on float32 masters, torch's own clipping, a fixed loss
    scale. Gradient norms, and the masters under the file's names.

    A parameter that a step leaves out has a gradient of 0, as at every stage of ZeRO.
    """
    model, loss_scale = Small(path, config.dtype), config.loss_scale or 1.0
    weights = dict(model.model.named_parameters())
    masters = {name: w.detach().float().clone() for name, w in weights.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [m for m in masters.values() if m.ndim >= 2], "weight_decay": 0.1},
            {"params": [m for m in masters.values() if m.ndim < 2], "weight_decay": 0.0},
        ],
        eps=plan.eps,
    )
    norms = []
    for number, trees in enumerate(steps, 1):
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        tokens = sum(tree.num_trained for tree in trees)
        for batch in model.batches(
            trees, row_tokens=config.row_tokens, tokens=config.tokens_per_microbatch
        ):
            (-model.forward(batch).sum() / tokens * loss_scale).backward()
        for name, weight in weights.items():
            assert weight.grad is not None
            masters[name].grad = weight.grad.float() / loss_scale
        norms.append(float(torch.nn.utils.clip_grad_norm_(masters.values(), plan.max_grad_norm)))
        for group in optimizer.param_groups:
            group["lr"] = rate(plan, number)
        optimizer.step()
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(masters[name])
    return norms, file_weights(model.model, masters)


def largest_gap(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference of two weights of the same name."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - weight).abs().max()) for name, weight in theirs.items())


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], atol: float = 1e-7) -> None:
    """Weight by weight: `atol`, or two of float32's steps at the weight's size."""
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=2.5e-7, atol=atol)
