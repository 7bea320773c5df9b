"""The two training loops, and what they are made of. A recipe's stage runs one of them; the scripts
`recipes/{sft,dpo,kto,grpo}.py` write the loops out with the same functions.

A loop knows only Protocols: who learns, who samples and who scores arrive as arguments.
"""

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
from rl.learners.updates import ONE_UPDATE, Updates

Record = TypeVar("Record")
OnStep = Callable[[int, dict[str, float]], None]
Collected = tuple[list[tuple[Rollout, tuple[Score, ...]]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """Which steps a loop runs, and on how many records each.

    num_steps: steps of the whole stage.
    prompts_per_step: records (rows, or prompts of an online algorithm) of each step.
    seed: of the order of the records.
    start_step: steps that an earlier attempt at the stage has done already.
    updates: how many times each step updates the weights.
    """

    num_steps: int
    prompts_per_step: int
    seed: int
    start_step: int = 0
    updates: Updates = ONE_UPDATE

    def split_seed(self, step: int) -> str:
        """The seed of a step's mini-batches."""
        return f"{self.seed}/{step}"


def epoch_order(num_records: int, *, seed: int, epoch: int) -> list[int]:
    """The order of the records in one epoch: a permutation that seed and epoch determine.

    >>> epoch_order(5, seed=0, epoch=0)
    [0, 1, 4, 3, 2]
    """
    order = list(range(num_records))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def batches(
    records: Sequence[Record], plan: LoopPlan, *, distinct: bool = False
) -> Iterator[tuple[int, float, list[Record]]]:
    """The records of each step, as (step, epochs done after it, records). Steps count from 1.

    Epochs follow one another without a gap: a step may hold the end of one and the beginning of the
    next, and no record is left out. A loop that starts later gets the same batches.

    distinct: no step holds a record twice, where there are at least three steps' worth of records.
        In a step across two epochs, records with which the first one ends come a little later in
        the second. Groups of an online algorithm are keyed by their prompt, so it needs this.

    >>> plan = LoopPlan(num_steps=2, prompts_per_step=2, seed=0)
    >>> list(batches(["a", "b", "c"], plan))
    [(1, 0.6666666666666666, ['a', 'c']), (2, 1.3333333333333333, ['b', 'a'])]
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
    """The order of an epoch whose first step began in the epoch before: that step holds the last
    `seam` records of `before` already, so these are moved behind the rest of it.

    Only the first two steps' worth of an order changes. So every epoch ends as `epoch_order` says,
    and a stage that continues from a checkpoint computes the order of its epoch from two
    permutations, without replaying the epochs before.
    """
    if not seam:
        return order
    near, rest = order[: 2 * width], order[2 * width :]
    held = set(before[-seam:])
    return [i for i in near if i not in held] + [i for i in near if i in held] + rest


def drawn(num_records: int, plan: LoopPlan) -> list[int]:
    """Which records a whole stage's steps hold, those before `start_step` included, in order.

    >>> drawn(5, LoopPlan(num_steps=1, prompts_per_step=3, seed=0))
    [0, 1, 4]
    """
    if plan.num_steps * plan.prompts_per_step >= num_records:  # a whole epoch
        return list(range(num_records))
    steps = batches(range(num_records), replace(plan, start_step=0))
    return sorted({index for _, _, chosen in steps for index in chosen})


def train_offline(
    *,
    learner: Learner,
    algorithm: Algorithm,
    trees: Sequence[Tree],
    plan: LoopPlan,
    on_step: OnStep,
) -> None:
    """Trains on rows of data (SFT, DPO, KTO): each step takes the next `prompts_per_step` trees.

    trees: all rows of the stage, with reference log-probs where the algorithm needs them.
    on_step(step, metrics): called after each step.
    """
    distribution = SamplingDistribution()
    for step, epoch, chosen in batches(trees, plan):
        started = time.perf_counter()
        metrics = dict(
            learner.step(
                algorithm.arrange(chosen),
                algorithm,
                distribution,
                updates=plan.updates,
                seed=plan.split_seed(step),
            )
        )
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
    """Trains on answers that the policy samples itself (GRPO). Every step samples and scores,
    updates the weights (as often as `plan.updates` says), and publishes them before the next step
    samples.

    samples: the prompts.
    collect(samples, step): sampled and scored answers, with metrics of them.
    make_tree(rollout, scores): one prompt's answers as a tree.
    publish(step): gives the new weights to the sampler and returns metrics (parity, seconds).
    distribution: the distribution that answers are sampled from; the learner's log-probs are of it.
    on_step(step, metrics): called after each step.
    """
    for step, epoch, chosen in batches(samples, plan, distinct=True):
        started = time.perf_counter()
        groups, collected = collect(chosen, step)
        made = time.perf_counter()
        trees = [make_tree(rollout, scores) for rollout, scores in groups]
        data_s = time.perf_counter() - made
        metrics = dict(
            learner.step(
                algorithm.arrange(trees),
                algorithm,
                distribution,
                updates=plan.updates,
                seed=plan.split_seed(step),
            )
        )
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


def with_references(
    learner: Learner, trees: Sequence[Tree], plan: LoopPlan | None = None, *, chunk: int = 256
) -> list[Tree]:
    """The trees with the reference's log-probs, for a stage on rows of data.

    Call it before the first update, while the policy still *is* the reference. It costs one forward
    pass over the rows, and saves a second copy of the weights and its passes in every step.

    plan: of the steps that train on these trees. Trees that no step holds are returned as they
        are. A stage that continues from a checkpoint computes those of the whole stage again: each
        log-prob is then rounded as before, because the same trees share its micro-batch.
    chunk: trees of one call to the learner, which has to end before the learner's deadline.
    """
    done = list(trees)
    wanted = range(len(trees)) if plan is None else drawn(len(trees), plan)
    for start in range(0, len(wanted), chunk):
        part = wanted[start : start + chunk]
        scored = learner.logprobs([trees[index] for index in part], SamplingDistribution())
        for index, found in zip(part, scored, strict=True):
            logps = [tuple(branch) for branch in found]
            done[index] = trees[index].with_column("reference_logps", logps)
    return done


def implicit_rewards(
    learner: Learner, trees: Sequence[Tree], beta: float
) -> list[tuple[float, float]]:
    """(chosen, rejected) implicit rewards of preference trees: beta times the summed log-ratio of
    policy to reference. The trees have to carry `reference_logps`."""
    rewards = []
    for tree, found in zip(trees, learner.logprobs(trees, SamplingDistribution()), strict=True):
        by_label = {
            branch.label: beta * (sum(logps) - sum(branch.reference_logps or ()))
            for branch, logps in zip(tree.branches, found, strict=True)
        }
        rewards.append((by_label[True], by_label[False]))
    return rewards
