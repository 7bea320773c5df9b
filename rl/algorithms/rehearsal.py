"""Runs an algorithm's hooks once on a small step of invented rows, before any engine starts.

An exception in a hook, a wrong return type or a metric that is not declared would end a run after
its first step, minutes after the engines have started. Here it costs a few milliseconds, when the
recipe is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

import torch
from torch import Tensor

from rl.algorithms.base import Algorithm, Denominators, Loss
from rl.batch import MicroBatch
from rl.data.rows import Reading
from rl.data.tree import Branch, ColumnValue, Tree
from rl.errors import ConfigError, PlumblineError, errors_as
from rl.runs.metrics import METRICS, describe

_PROMPTS, _LONGEST = 3, 4


def rehearse(algorithm: Algorithm) -> None:
    """Runs `arrange`, `prepare`, `denominators` and `loss` once, on one rank, with random
    log-probs.

    What a hook itself refuses about the invented rows (a `PlumblineError`) is no fault, and passes.

    Raises: ConfigError naming the algorithm, where it is not derived from `Algorithm`, a hook
    raises or returns another type than the base class says, or a metric is not declared.

    >>> from rl.algorithms.sft import SFT
    >>> rehearse(SFT())
    """
    where = f"algorithm {getattr(algorithm, 'name', type(algorithm).__name__)}"
    if not isinstance(algorithm, Algorithm):
        raise ConfigError(
            f"{type(algorithm).__name__} is no algorithm",
            where=where,
            expected="a subclass of rl.algorithms.base.Algorithm",
            do="derive the class from it, as docs/extending.md shows",
        )
    _check_own(algorithm.own_metrics, where)
    with errors_as(ConfigError, "its needs end in {error}", where=where, do="fix its needs"):
        reading = algorithm.needs.reading
    if reading not in get_args(Reading):
        raise ConfigError(f"needs.reading is {reading!r}", where=where, expected=_one_of(Reading))
    fails = errors_as(
        ConfigError,
        "a made-up step ends in {error}",
        where=where,
        do="fix its prepare, denominators or loss",
    )
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), fails:
        try:
            found = metrics_of_a_step(algorithm)
        except PlumblineError:
            return
    _check_reported(found, algorithm.own_metrics, where)


def _check_own(own: Any, where: str) -> None:
    is_table = isinstance(own, Mapping) and all(
        isinstance(key, str) and isinstance(text, str) and key and text for key, text in own.items()
    )
    if not is_table:
        raise ConfigError(
            "own_metrics is no table of names and sentences",
            where=where,
            expected='{"mine/kept": "Share of answers kept."}',
        )
    if taken := sorted(set(own) & set(METRICS)):
        raise ConfigError(
            f"own_metrics declares {taken[0]}, which has a meaning already",
            where=where,
            expected=METRICS[taken[0]],
            do="choose another name, or leave it out where the meaning is this one",
        )


def _check_reported(found: Mapping[str, Any], own: Mapping[str, str], where: str) -> None:
    for key, pair in found.items():
        if describe(key, own) is None:
            raise ConfigError(
                f"metric {key} is not declared",
                where=where,
                do="add it to the algorithm's own_metrics, with a sentence",
            )
        if not isinstance(pair, tuple) or [isinstance(item, Real) for item in pair] != [True, True]:
            raise ConfigError(
                f"metric {key} is {pair!r}", where=where, expected="two numbers: (sum, count)"
            )


def metrics_of_a_step(algorithm: Algorithm) -> dict[str, Any]:
    """The metrics that `prepare`, `denominators` and `loss` report in one invented step."""
    generator = torch.Generator().manual_seed(0)
    trees = [_tree(algorithm, number, generator) for number in range(_PROMPTS)]
    step = _Step(algorithm.arrange(trees), generator)
    measured = algorithm.prepare(step)
    if not isinstance(measured, Mapping):
        raise TypeError(
            f"prepare() returned {type(measured).__name__}, not a table of metrics: return {{}} "
            "where there are none, and let denominators() give what sums are divided by"
        )
    denominators = algorithm.denominators(step)
    if not isinstance(denominators, Denominators):
        raise TypeError(f"denominators() returned {type(denominators).__name__}, no Denominators")
    found = {**measured, **denominators.metrics}
    if step.trees:
        batch = _micro_batch(step.trees)
        policy_N = _logps(len(batch.target_N), generator).requires_grad_()
        loss = algorithm.loss(batch.tree_batch(policy_N), denominators)
        if not isinstance(loss, Loss) or loss.value.dim() != 0:
            raise TypeError("loss() returned no Loss whose value is a scalar tensor")
        loss.value.backward()  # type: ignore[no-untyped-call]
        found |= loss.metrics
    return found


@dataclass
class _Step:
    """A step on one rank, with random log-probs in place of a model's."""

    trees: list[Tree]
    generator: torch.Generator

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> list[list[Tensor]]:
        return [
            [_logps(branch.num_trained, self.generator) for branch in tree.branches]
            for tree in trees
        ]

    def total(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]


def _tree(algorithm: Algorithm, number: int, generator: torch.Generator) -> Tree:
    """One prompt with as many branches (answers) and columns as its reading gives."""
    needs = algorithm.needs
    width = {"preference": 2, "group": algorithm.answers_per_prompt}.get(needs.reading, 1)
    branches = []
    for place in range(width):
        length = 1 + (number + place) % _LONGEST
        drawn = tuple(_logps(length, generator).tolist())
        columns: dict[str, ColumnValue] = dict.fromkeys(needs.columns, float(number + place))
        if needs.online:
            columns["behavior_logps"] = drawn
        elif needs.reference:
            columns["reference_logps"] = drawn
        if needs.reading == "preference":
            columns["label"] = place == 0
        elif needs.reading == "labelled":
            columns["label"] = number % 2 == 0
        branches.append(
            Branch(
                uid=f"{number}/{place}",
                token_ids=tuple(range(length)),
                reward=float(place % 2) if needs.online else None,
                columns=columns,
            )
        )
    return Tree(
        uid=str(number),
        trunk_ids=(number,),
        branches=tuple(branches),
        is_pair=needs.reading == "preference",
    )


def _micro_batch(trees: Sequence[Tree]) -> MicroBatch:
    """All trees as one micro-batch, without the inputs that only a model reads."""
    owners = [(i, j) for i, tree in enumerate(trees) for j in range(len(tree.branches))]
    branches = tuple(trees[i].branches[j] for i, j in owners)
    lengths = torch.tensor([branch.num_trained for branch in branches])
    nothing = torch.zeros(0, dtype=torch.long)
    return MicroBatch(
        input_ids=nothing,
        attention=None,
        positions=None,
        images=None,
        image_order=(),
        own_positions={},
        predict_N=nothing,
        target_N=torch.zeros(int(lengths.sum()), dtype=torch.long),
        branch_N=torch.arange(len(branches)).repeat_interleave(lengths),
        branches=branches,
        owners=tuple(owners),
        pair_B=tuple(i if trees[i].is_pair else -1 for i, _ in owners),
    )


def _logps(count: int, generator: torch.Generator) -> Tensor:
    return -2 * torch.rand(count, generator=generator)


def _one_of(literal: Any) -> str:
    return "one of " + ", ".join(get_args(literal))
