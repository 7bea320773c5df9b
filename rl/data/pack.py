"""Trees to micro-batches: rows of one or several trees, similar lengths together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rl.data.tree import Tree
from rl.models.spec import Layout


@dataclass(frozen=True)
class Lane:
    """What lies in a row from one tree: the trunk and some of its branches (all of them in tree
    layout).
    """

    tree: int  # index into the step's trees
    branches: tuple[int, ...]
    length: int


Rows = tuple[tuple[Lane, ...], ...]


@dataclass(frozen=True)
class Plan:
    """One micro-batch: its rows, each a tuple of lanes. `trees` are whole: a pair or group is
    never split.
    """

    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """(R, T) of the token tensor."""
        return len(self.rows), max(sum(lane.length for lane in row) for row in self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return sum(lane.length for row in self.rows for lane in row)


def pack(
    trees: Sequence[Tree], *, layout: Layout, row_tokens: int, tokens_per_microbatch: int
) -> list[Plan]:
    """Every tree once, in micro-batches of at most `tokens_per_microbatch` padded tokens (one
    tree may exceed it).

    Rows are filled best fit, longest tree first, up to `row_tokens`; a longer tree has a row of
    its own. Rows of similar length share a micro-batch.
    """
    if layout == "tree":
        bundles: list[Rows] = [(row,) for row in _fill_rows(trees, row_tokens)]
    else:
        bundles = [_one_row_a_branch(tree, index) for index, tree in enumerate(trees)]
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
    """Best-fit decreasing: each tree goes where it leaves the least room."""
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
