"""The shape every algorithm works on, and the reductions it may use.

Shape letters: P prompts or pairs, G group, B branches (completions) of a micro-batch, N trained
tokens of a micro-batch, T row tokens, R rows, V vocabulary, I images. A tensor's name ends with its
shape: `policy_logp_N`, `advantage_B`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rl.data.tree import Tree


@dataclass(frozen=True)
class Denominators:
    """What the step's sums are divided by: global counts over ranks and micro-batches.

    `baseline` is what else the whole step settles before the first backward (KTO's z). `metrics`
    are what `prepare` saw on this rank, as (sum, count): the learner adds them up over ranks
    together with those of `loss`.
    """

    tokens: float
    branches: float
    pairs: float
    baseline: float = 0.0
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """`value` is this micro-batch's share of the step's loss (scalar, differentiable).

    `metrics` hold (sum, count), to be added up over micro-batches and ranks.
    """

    value: Tensor
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """The trained tokens of one micro-batch, flat and ragged: no padding, so no mask.

    Shapes: `*_N` one entry a trained token in the order of its branches, `branch_N` which branch it
    belongs to; `*_B` one entry a branch. `pair_B` numbers preference pairs (-1: none); `label_B` is
    true for chosen / desirable.
    """

    policy_logp_N: Tensor
    branch_N: Tensor
    num_branches: int
    old_logp_N: Tensor | None = None
    behavior_logp_N: Tensor | None = None
    reference_logp_N: Tensor | None = None
    advantage_B: Tensor | None = None
    label_B: Tensor | None = None
    pair_B: Tensor | None = None

    def per_token(self, value_B: Tensor) -> Tensor:
        """Spreads a branch's value over its tokens."""
        return value_B[self.branch_N]

    def sum_by_branch(self, value_N: Tensor) -> Tensor:
        """Adds up each branch's tokens: [N] -> [B]."""
        return value_N.new_zeros(self.num_branches).index_add(0, self.branch_N, value_N)

    def tokens_by_branch(self) -> Tensor:
        """How many trained tokens each branch has: [B]."""
        counts_B = torch.bincount(self.branch_N, minlength=self.num_branches)
        return counts_B.to(self.policy_logp_N.dtype)

    def position_N(self) -> Tensor:
        """Each token's place, from 0, among its branch's: tokens lie in the order of branches."""
        length_B = torch.bincount(self.branch_N, minlength=self.num_branches)
        start_B = length_B.cumsum(0) - length_B
        return torch.arange(len(self.branch_N), device=start_B.device) - start_B[self.branch_N]

    def by_pair(self, value_B: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen and rejected branches' values, in the order of pairs: [B] -> [P], [P]."""
        pair_B, label_B = (
            require_column(self.pair_B, "pair_B"),
            require_column(self.label_B, "label_B"),
        )
        order_B = torch.argsort(pair_B, stable=True)
        order_B = order_B[pair_B[order_B] >= 0]
        is_chosen_B = label_B[order_B].bool()
        return value_B[order_B[is_chosen_B]], value_B[order_B[~is_chosen_B]]


@dataclass(frozen=True)
class Needs:
    """What an algorithm asks of the line.

    `tree` says how rows become trees, `online` which loop runs it; `reference`, `old` and
    `behavior` are log-probs. `mismatched`: the loop calls `rl.algorithms.kto.rotate_answers` on the
    whole step, before any split into ranks or micro-batches.
    """

    tree: str  # "sft" | "preference" | "labelled" | "group"
    online: bool = False
    reference: bool = False
    old: bool = False
    behavior: bool = False
    mismatched: bool = False


class Step(Protocol):
    """A whole optimizer step before any backward: this rank's trees, what model and ranks answer.

    `logprobs(trees, reference=False)` runs without gradient and returns, a tree and a branch, the
    float32 log-probs of its trained tokens (trunk-trained ones lead the first branch); all ranks
    call it together. `total(values)` adds numbers up over the ranks.
    """

    trees: list[Tree]

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> list[list[Tensor]]: ...

    def total(self, values: Sequence[float]) -> list[float]: ...


class Algorithm(Protocol):
    """Three hooks. The object is its section of the recipe: config and run time cannot disagree.

    A metric that no other algorithm has is declared in the class (name -> one sentence, its unit
    where it has one): `own_metrics: ClassVar[Mapping[str, str]] = {"kept": "Share of ..."}`.
    """

    @property
    def needs(self) -> Needs:
        """Read from the instance: it may depend on parameters."""
        ...

    def prepare(self, step: Step) -> Denominators:
        """Completes the step's trees (references, advantages, z), may drop some, and counts."""
        ...

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss: ...


def own_metrics(algorithm: Algorithm) -> Mapping[str, str]:
    """What the algorithm declares of metrics that `rl.runs.metrics` does not know."""
    own: Mapping[str, str] = getattr(algorithm, "own_metrics", {})
    return own


def require_column(value: Tensor | None, name: str) -> Tensor:
    """The column itself; the learner fills every one that `needs` names."""
    assert value is not None, f"the batch lacks {name}"
    return value


def divide_by(total: Tensor, denominator: float) -> Tensor:
    """A micro-batch's sum over a global denominator; an empty step gives a differentiable 0."""
    return total / max(denominator, 1.0)


def mean_metric(value: Tensor) -> tuple[float, float]:
    """(sum, count) of a column, for a metric that is its mean."""
    return float(value.detach().sum()), float(value.numel())


def count_step(step: Step) -> Denominators:
    """The step's trained tokens, branches and pairs, added up over the ranks."""
    trees = step.trees
    tokens, branches, pairs = step.total(
        [
            sum(tree.num_trained for tree in trees),
            sum(len(tree.branches) for tree in trees),
            sum(tree.is_pair for tree in trees),
        ]
    )
    return Denominators(tokens=tokens, branches=branches, pairs=pairs)


def fill_references(step: Step) -> None:
    """Gives every branch its reference log-probs; those that are cached already are kept.

    Ranks decide together: a forward that only some of them enter would hang at ZeRO-3.
    """
    missing = [
        index
        for index, tree in enumerate(step.trees)
        if any(branch.reference_logps is None for branch in tree.branches)
    ]
    if not step.total([len(missing)])[0]:
        return
    trees = list(step.trees)
    found = step.logprobs([trees[index] for index in missing], reference=True)
    for index, logps in zip(missing, found, strict=True):
        branches = tuple(
            replace(branch, reference_logps=tuple(values.tolist()))
            for branch, values in zip(trees[index].branches, logps, strict=True)
        )
        trees[index] = replace(trees[index], branches=branches)
    step.trees = trees
