"""Steps and batches without a learner: what the tests of the algorithms stand on."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rl.algorithms.base import Algorithm
from rl.batch import TreeBatch
from rl.data.tree import Branch, Tree
from rl.learners.updates import Part

Logps = list[list[Tensor]]
ALL = Part()
LogpsOf = Callable[[Sequence[Tree]], Logps]


@dataclass
class OneRank:
    """A step on a single rank: its model is two functions."""

    trees: list[Tree]
    policy: LogpsOf
    reference: LogpsOf
    reference_calls: int = field(default=0)

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> Logps:
        self.reference_calls += reference
        return frozen(self.reference if reference else self.policy, trees)

    def total(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]


class Ranks:
    """The same step on several ranks: `total` is asked in lockstep, so it replays the others' sums.

    `prepare` on the step and `denominators` on one mini-batch of it run on each rank until no sum
    is missing any more.
    """

    def __init__(self, shares: Sequence[list[Tree]], policy: LogpsOf, reference: LogpsOf) -> None:
        self.shares, self.policy, self.reference = shares, policy, reference

    def prepare(
        self, algorithm: Algorithm, part: Part = ALL
    ) -> tuple[list[list[Tree]], list[object]]:
        """The mini-batch's trees and the denominators, by rank."""
        asked: list[list[list[float]]] = [[] for _ in self.shares]
        while True:
            steps = [
                _Rank(list(share), self, asked, rank) for rank, share in enumerate(self.shares)
            ]
            found: list[object] = []
            for step in steps:
                try:
                    algorithm.prepare(step)
                    step.trees = part.of(step.trees)
                    found.append(algorithm.denominators(step))
                except _Waiting:
                    continue
            if len(found) == len(steps):
                return [step.trees for step in steps], found


class _Waiting(Exception):
    pass


@dataclass
class _Rank:
    trees: list[Tree]
    world: Ranks
    asked: list[list[list[float]]]
    rank: int
    turn: int = 0

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> Logps:
        return frozen(self.world.reference if reference else self.world.policy, trees)

    def total(self, values: Sequence[float]) -> list[float]:
        mine = self.asked[self.rank]
        if self.turn == len(mine):
            mine.append(list(values))
        if any(len(other) <= self.turn for other in self.asked):
            raise _Waiting
        self.turn += 1
        return [sum(column) for column in zip(*(a[self.turn - 1] for a in self.asked), strict=True)]


def frozen(logps_of: LogpsOf, trees: Sequence[Tree]) -> Logps:
    """Without gradient, as a learner's pass before the first backward is."""
    with torch.no_grad():
        return [[logps.detach() for logps in branches] for branches in logps_of(trees)]


def collate(trees: Sequence[Tree], policy: Logps) -> TreeBatch:
    """The batch that a learner would make of these trees, given each branch's log-probs."""
    branches = [branch for tree in trees for branch in tree.branches]
    flat = [logps for tree in policy for logps in tree]
    pairs = [
        index if tree.is_pair else -1 for index, tree in enumerate(trees) for _ in tree.branches
    ]
    dtype = flat[0].dtype
    lengths = torch.tensor([len(logps) for logps in flat], dtype=torch.long)
    return TreeBatch(
        policy_logp_N=torch.cat(flat),
        branch_N=torch.arange(len(branches)).repeat_interleave(lengths),
        num_branches=len(branches),
        pair_B=torch.tensor(pairs),
        columns={name: _column(name, branches, dtype) for name in branches[0].columns},
    )


def _column(name: str, branches: Sequence[Branch], dtype: torch.dtype) -> Tensor:
    """A column in the dtype of the log-probs: these tests compute in float64."""
    values = [branch.columns[name] for branch in branches]
    flat = [x for value in values for x in (value if isinstance(value, tuple) else (value,))]
    return torch.tensor(flat, dtype=torch.bool if isinstance(flat[0], bool) else dtype)


class Table:
    """A model whose every (prompt, answer, position) has its own log-prob, a leaf."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64) -> None:
        self.seed, self.dtype, self.leaves = seed, dtype, dict[object, Tensor]()

    def __call__(self, trees: Sequence[Tree]) -> Logps:
        return [[self.leaf(tree, branch) for branch in tree.branches] for tree in trees]

    def leaf(self, tree: Tree, branch: Branch) -> Tensor:
        key = (tree.trunk_ids, branch.uid)
        if key not in self.leaves:
            generator = torch.Generator().manual_seed(zlib.crc32(repr((self.seed, key)).encode()))
            value = -2 * torch.rand(branch.num_trained, generator=generator, dtype=self.dtype)
            self.leaves[key] = value.requires_grad_()
        return self.leaves[key]

    def gradient(self) -> dict[object, Tensor]:
        return {key: leaf.grad for key, leaf in self.leaves.items() if leaf.grad is not None}
