"""The shape every algorithm works on, and the reductions it may use.

Shape letters: P prompts, G group, B branches (completions) of a micro-batch, N trained tokens of a micro-batch,
T row tokens, R rows, V vocabulary, I images. A tensor's name ends with its shape: `policy_logp_N`, `advantage_B`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rl.data.tree import Tree


@dataclass(frozen=True)
class Denominators:
    """What every sum of the optimizer step is divided by: global counts over ranks and micro-batches."""

    tokens: float
    branches: float
    pairs: float


@dataclass(frozen=True)
class Loss:
    """`value` is this micro-batch's share of the step's loss (scalar, differentiable); `metrics` hold (sum, count) to be added up."""

    value: Tensor
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """The trained tokens of one micro-batch, flat and ragged: no padding, so no mask in the mathematics.

    Shapes: `*_N` one entry a trained token in the order of its branches, `branch_N` which branch it belongs to;
    `*_B` one entry a branch. `pair_B` numbers preference pairs (-1: none); `label_B` is true for chosen / desirable.
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
        return torch.bincount(self.branch_N, minlength=self.num_branches).to(self.policy_logp_N.dtype)


@dataclass(frozen=True)
class Needs:
    """What an algorithm asks of the line: `tree` how rows become trees, `reference` and `old` log-probs, `online` its loop."""

    tree: str  # "sft" | "preference" | "labelled" | "group"
    online: bool = False
    reference: bool = False
    old: bool = False
    behavior: bool = False


class Step(Protocol):
    """A whole optimizer step before any backward: this rank's trees, and what may be asked of model and ranks.

    `logprobs(trees, reference=False)` runs without gradient and returns, a tree and a branch, the float32 log-probs of its
    trained tokens (trunk-trained ones lead the first branch). `total(values)` adds numbers up over the ranks.
    """

    trees: list[Tree]

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> list[list[Tensor]]: ...

    def total(self, values: Sequence[float]) -> list[float]: ...


class Algorithm(Protocol):
    """Three hooks. The object is also its section of the recipe, so that config and run time cannot disagree."""

    needs: ClassVar[Needs] | Any

    def prepare(self, step: Step) -> Denominators:
        """Completes the step's trees (references, advantages, z), may drop trees, and returns the global denominators."""
        ...

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss: ...
