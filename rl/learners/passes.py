"""Forward passes over trees, whatever engine runs them: packing, collating, log-probs back in
order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rl.batch import MicroBatch
from rl.data.collate import ImageStore, collate
from rl.data.pack import Plan, pack
from rl.data.tree import Tree
from rl.errors import ModelError
from rl.models.spec import Layout, ModelSpec

Forward = Callable[[MicroBatch], Tensor]
LARGEST_FLOAT32, MEAN_BFLOAT16 = 1e-4, 0.02


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How trees become micro-batches for one model."""

    spec: ModelSpec
    store: ImageStore
    layout: Layout
    row_tokens: int
    tokens_per_microbatch: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    never_without_image: bool = False

    def plans(self, trees: Sequence[Tree]) -> list[Plan]:
        """The micro-batches of these trees."""
        return pack(
            trees,
            layout=self.layout,
            row_tokens=self.row_tokens,
            tokens_per_microbatch=self.tokens_per_microbatch,
        )

    def batch(
        self, trees: Sequence[Tree], plan: Plan, *, finds_positions: bool = False
    ) -> MicroBatch:
        """One micro-batch as tensors on the device."""
        made = collate(
            trees,
            plan,
            self.spec,
            self.store,
            layout=self.layout,
            dtype=self.dtype,
            finds_positions=finds_positions,
            never_without_image=self.never_without_image,
        )
        return made if self.device == "cpu" else made.to(self.device)

    def logprobs(self, trees: Sequence[Tree], forward: Forward) -> list[list[Tensor]]:
        """A tree and a branch: the log-probs of its trained tokens, without gradient."""
        return self.gather(trees, (self.batch(trees, plan) for plan in self.plans(trees)), forward)

    def gather(
        self, trees: Sequence[Tree], batches: Iterator[MicroBatch], forward: Forward
    ) -> list[list[Tensor]]:
        """Runs the batches and puts what comes out in the order of trees and branches."""
        found = [[torch.zeros(0) for _ in tree.branches] for tree in trees]
        for batch in batches:
            with torch.no_grad():
                logp_N = forward(batch).float().cpu()
            lengths = torch.bincount(batch.branch_N.cpu(), minlength=len(batch.branches))
            pieces = torch.split(logp_N, lengths.tolist())
            for (tree, branch), piece in zip(batch.owners, pieces, strict=True):
                found[tree][branch] = piece
        return found

    def layout_gap(self, trees: Sequence[Tree], forward: Forward) -> tuple[float, float]:
        """(largest, mean) difference of log-probs between this layout and plain rows, one pass
        each.

        The rows' side takes nothing from the other: a plain mask, and positions that the model
        finds by itself.
        """
        whole = replace(self, tokens_per_microbatch=sys.maxsize)
        plain = replace(whole, layout="rows")
        plans = plain.plans(trees)
        rows = plain.gather(
            trees, (plain.batch(trees, p, finds_positions=True) for p in plans), forward
        )
        gaps = torch.cat(
            [
                (a - b).abs()
                for mine, theirs in zip(whole.logprobs(trees, forward), rows, strict=True)
                for a, b in zip(mine, theirs, strict=True)
            ]
        )
        return (float(gaps.max()), float(gaps.mean())) if len(gaps) else (0.0, 0.0)

    def judge_layouts(self, largest: float, mean: float) -> None:
        """Raises: ModelError where the layouts differ by more than rounding."""
        if self.dtype == torch.float32:
            is_equal, limit = largest <= LARGEST_FLOAT32, f"{LARGEST_FLOAT32} at most"
        else:
            is_equal, limit = mean <= MEAN_BFLOAT16, f"{MEAN_BFLOAT16} on average"
        if not is_equal:
            raise ModelError(
                "tree and rows layout give different log-probs"
                f" (largest difference {largest:.1e}, mean {mean:.1e})",
                where=self.spec.name,
                expected=limit,
                do="set learner.layout: rows",
            )
