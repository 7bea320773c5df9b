"""Which trees go into which row and micro-batch: rows are filled well, and rows of similar length
are together, so that little of a forward pass is padding.

Two layouts. In `tree` layout a row holds whole trees, one after another: each prompt (trunk) once,
with all its answers (branches). In `rows` layout every branch has a row of its own, with a copy of
the trunk before it; it serves models for which the tree's attention mask is not valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rl.data.tree import Tree
from rl.models.spec import Layout


@dataclass(frozen=True)
class Lane:
    """What a row holds of one tree: the trunk and some of its branches.

    tree: index into the trees of the step.
    branches: which branches of the tree; in tree layout all of them, in rows layout one.
    length: tokens of trunk and branches.
    """

    tree: int
    branches: tuple[int, ...]
    length: int


Rows = tuple[tuple[Lane, ...], ...]


@dataclass(frozen=True)
class Plan:
    """One micro-batch: its rows, each a tuple of lanes. All branches of a tree are in one
    micro-batch, so a pair or a group is never split.

    >>> plan = Plan(((Lane(0, (0, 1), 9), Lane(2, (0,), 3)), (Lane(1, (0,), 10),)))
    >>> plan.shape, plan.num_tokens
    ((2, 12), 22)
    """

    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """(R, T): rows and padded tokens of a row."""
        return len(self.rows), max(sum(lane.length for lane in row) for row in self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return sum(lane.length for row in self.rows for lane in row)


def pack(
    trees: Sequence[Tree], *, layout: Layout, row_tokens: int, tokens_per_microbatch: int
) -> list[Plan]:
    """The micro-batches of a step: every tree once.

    row_tokens: the length up to which trees share a row (tree layout); a longer tree has a row of
        its own.
    tokens_per_microbatch: padded tokens (R * T) of a micro-batch; one tree alone may exceed it.
    """
    if layout == "tree":
        bundles: list[Rows] = [(row,) for row in _fill_rows(trees, row_tokens)]
    else:
        bundles = [_one_row_a_branch(tree, index) for index, tree in enumerate(trees)]
    # Longest first: then the first row of a micro-batch says how wide all of its rows are.
    bundles.sort(key=lambda rows: -_longest(rows))
    plans: list[Plan] = []
    rows: list[tuple[Lane, ...]] = []
    for bundle in bundles:
        longest = _longest(rows) if rows else _longest(bundle)
        if rows and longest * (len(rows) + len(bundle)) > tokens_per_microbatch:
            plans.append(Plan(tuple(rows)))
            rows = []
        rows += bundle
    return [*plans, Plan(tuple(rows))] if rows else plans


def _longest(rows: Sequence[tuple[Lane, ...]]) -> int:
    return max(sum(lane.length for lane in row) for row in rows)


def _fill_rows(trees: Sequence[Tree], row_tokens: int) -> list[tuple[Lane, ...]]:
    """Best-fit decreasing bin packing: the longest tree first, each into the row in which it leaves
    the least room, or into a new row where it fits in none."""
    rows: list[list[Lane]] = []
    room: list[int] = []
    order = sorted(range(len(trees)), key=lambda i: (-trees[i].num_tokens, i))
    for index in order:
        tree = trees[index]
        lane = Lane(index, tuple(range(len(tree.branches))), tree.num_tokens)
        fits = [(left, i) for i, left in enumerate(room) if left >= lane.length]
        if fits:
            _, best = min(fits)
            rows[best].append(lane)
            room[best] -= lane.length
        else:
            rows.append([lane])
            room.append(row_tokens - lane.length)
    return [tuple(row) for row in rows]


def _one_row_a_branch(tree: Tree, index: int) -> Rows:
    trunk = len(tree.trunk_ids)
    return tuple(
        (Lane(index, (i,), trunk + len(branch.token_ids)),)
        for i, branch in enumerate(tree.branches)
    )
