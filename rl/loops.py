"""The two training loops. They know only Protocols: who learns, who samples and who scores
arrives as an argument."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rl.algorithms.base import Algorithm
from rl.core import Rollout, Sample, Score
from rl.data.tree import Tree
from rl.learners.base import Learner, SamplingDistribution

Record = TypeVar("Record")
OnStep = Callable[[int, dict[str, float]], None]
Collected = tuple[list[tuple[Rollout, tuple[Score, ...]]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """How long a loop runs: `num_steps` optimizer steps of `prompts_per_step` records, in a
    seeded order."""

    num_steps: int
    prompts_per_step: int
    seed: int
    start_step: int = 0


def epoch_order(num_records: int, *, seed: int, epoch: int) -> list[int]:
    """A seeded permutation: every record exactly once an epoch."""
    order = list(range(num_records))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def batches(
    records: Sequence[Record], plan: LoopPlan, *, distinct: bool = False
) -> Iterator[tuple[int, float, list[Record]]]:
    """(step, epoch, records) from `start_step` on. A step may span two epochs; no record is
    left out.

    With `distinct` such a step holds no record twice (where there are three steps' worth): those
    that the earlier epoch ended with come a little later in the next one.
    """
    orders: dict[int, list[int]] = {}
    size, width = len(records), plan.prompts_per_step
    for step in range(plan.start_step, plan.num_steps):
        first = step * width
        chosen = []
        for position in range(first, first + width):
            epoch, offset = divmod(position, size)
            if epoch not in orders:
                order = epoch_order(size, seed=plan.seed, epoch=epoch)
                if distinct and epoch and size >= 3 * width:
                    before = epoch_order(size, seed=plan.seed, epoch=epoch - 1)
                    order = _without_repeats(order, before, seam=epoch * size % width, width=width)
                orders = {epoch: order}
            chosen.append(records[orders[epoch][offset]])
        yield step + 1, (first + width) / size, chosen


def _without_repeats(order: list[int], before: list[int], *, seam: int, width: int) -> list[int]:
    """`order` with what the step across the seam (the last `seam` of `before`) holds already moved
    behind that step. Only its first two steps' worth changes."""
    if not seam:
        return order
    near, rest = order[: 2 * width], order[2 * width :]
    held = set(before[-seam:])
    return [i for i in near if i not in held] + [i for i in near if i in held] + rest


def train_offline(
    *,
    learner: Learner,
    algorithm: Algorithm,
    trees: Sequence[Tree],
    plan: LoopPlan,
    on_step: OnStep,
) -> None:
    """SFT, DPO, KTO and kin: rows are trees already, each step takes the next
    `prompts_per_step` of them.

    `algorithm.arrange` orders each step before any split. `on_step(step, metrics)` is called after
    each step.
    """
    distribution = SamplingDistribution()
    for step, epoch, chosen in batches(trees, plan):
        started = time.perf_counter()
        metrics = dict(learner.step(algorithm.arrange(chosen), algorithm, distribution))
        seconds = time.perf_counter() - started
        on_step(
            step,
            {**metrics, "epoch": epoch, "samples/s": len(chosen) / seconds, "time/step_s": seconds},
        )


def train_online(
    *,
    learner: Learner,
    algorithm: Algorithm,
    samples: Sequence[Sample],
    collect: Callable[[Sequence[Sample], int], Collected],
    make_tree: Callable[[Rollout, Sequence[Score]], Tree],
    publish: Callable[[int], Mapping[str, float]],
    distribution: SamplingDistribution,
    plan: LoopPlan,
    on_step: OnStep,
) -> None:
    """GRPO and kin, synchronous: sample and score (`collect(samples, step)`), learn, publish,
    every step.

    `publish(step)` hands the new weights to the sampler and returns its metrics (parity, seconds).
    """
    for step, epoch, chosen in batches(samples, plan, distinct=True):
        started = time.perf_counter()
        groups, collected = collect(chosen, step)
        made = time.perf_counter()
        trees = [make_tree(rollout, scores) for rollout, scores in groups]
        data_s = time.perf_counter() - made
        metrics = dict(learner.step(trees, algorithm, distribution))
        metrics.update(collected)
        metrics.update(publish(step))
        seconds = time.perf_counter() - started
        completions = sum(len(rollout.completions) for rollout, _ in groups)
        on_step(
            step,
            {
                **metrics,
                "epoch": epoch,
                "samples/s": completions / seconds,
                "time/data_s": data_s,
                "time/step_s": seconds,
            },
        )


def with_references(learner: Learner, trees: Sequence[Tree], *, chunk: int = 256) -> list[Tree]:
    """Caches reference log-probs for an offline stage: before the first update the policy *is*
    the reference.

    One forward pass over the rows, no second copy of the weights, none at all in later epochs.
    """
    done: list[Tree] = []
    for start in range(0, len(trees), chunk):
        part = trees[start : start + chunk]
        for tree, found in zip(part, learner.logprobs(part, SamplingDistribution()), strict=True):
            done.append(
                replace(
                    tree,
                    branches=tuple(
                        branch.with_columns(reference_logps=tuple(logps))
                        for branch, logps in zip(tree.branches, found, strict=True)
                    ),
                )
            )
    return done


def implicit_rewards(
    learner: Learner, trees: Sequence[Tree], beta: float
) -> list[tuple[float, float]]:
    """(chosen, rejected) implicit rewards of preference trees that carry `reference_logps`:
    beta (s - s_ref)."""
    rewards = []
    for tree, found in zip(trees, learner.logprobs(trees, SamplingDistribution()), strict=True):
        by_label = {
            branch.label: beta * (sum(logps) - sum(branch.reference_logps or ()))
            for branch, logps in zip(tree.branches, found, strict=True)
        }
        rewards.append((by_label[True], by_label[False]))
    return rewards
