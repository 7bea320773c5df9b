"""One rank's passes, in step with the other ranks.

A collective inside a pass (ZeRO-3 gathers a layer's weights there) waits until every rank has come
to the same one. Ranks with fewer micro-batches, or without images, would leave the others waiting:
they run idle passes, and the vision tower on an empty picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rl.batch import MicroBatch
from rl.data.tree import Branch, Tree
from rl.learners.passes import Forward, Passes
from rl.learners.ranks import Ranks

NUM_CHECKED_TREES = 2


class RankPasses:
    """The passes of one rank. Every rank makes the same calls in the same order:

        rank_passes.check_layouts(trees, forward)       # once: tree layout against plain rows
        passes = rank_passes.over(trees, learns=True)   # waits for all ranks
        plans = passes.plans(trees)
        idle = rank_passes.idle_batches(passes, len(plans))  # waits for all ranks
        for plan in plans: ...                          # the rank's own micro-batches
        for batch in idle: ...                          # and then its idle ones

    `keeps_gradients`: the engine keeps gradients from step to step where a pass leaves them out.
    """

    def __init__(self, passes: Passes, ranks: Ranks, *, keeps_gradients: bool) -> None:
        self.passes, self._ranks, self._keeps_gradients = passes, ranks, keeps_gradients
        self._is_checked = passes.layout == "rows"

    def over(self, trees: Sequence[Tree], *, learns: bool = False) -> Passes:
        """The passes over these trees, in which every rank runs the vision tower, or none does.

        ZeRO-3 and offload keep gradients where DeepSpeed never clears them: a tower that one step
        leaves out would be moved by the step before's, so passes that learn always run it.
        """
        has_images = any(tree.images for tree in trees)
        others_have = self._ranks.world_size > 1 and self._ranks.largest(has_images) > 0
        is_stale = learns and self._keeps_gradients and self.passes.spec.has_vision
        return replace(self.passes, never_without_image=others_have or is_stale)

    def idle_batches(self, passes: Passes, busy: int) -> list[MicroBatch]:
        """As many empty micro-batches as the busiest rank has more than this one's `busy`.

        Asked for before the first pass, so that ranks do not meet in different collectives.
        """
        idle = [_idle_tree(self.passes.spec.end_id)]
        missing = int(self._ranks.largest(busy)) - busy
        return [passes.batch(idle, plan) for plan in passes.plans(idle) * missing]

    def logprobs(self, trees: Sequence[Tree], forward: Forward) -> list[list[Tensor]]:
        """By tree and branch: the log-probs of the trained tokens [tokens], without gradient."""
        passes = self.over(trees)
        idle = self.idle_batches(passes, len(passes.plans(trees)))
        found = passes.logprobs(trees, forward)
        for batch in idle:
            with torch.no_grad():
                forward(batch)
        return found

    def check_layouts(self, trees: Sequence[Tree], forward: Forward) -> None:
        """Once, on the first trees: tree layout must give what plain rows give.

        Raises: ModelError if the two differ by more than rounding on any rank.
        """
        if self._is_checked:
            return
        first = list(trees[:NUM_CHECKED_TREES]) or [_idle_tree(self.passes.spec.end_id)]
        largest, mean = self.over(first).layout_gap(first, forward)
        self.passes.judge_layouts(self._ranks.largest(largest), self._ranks.largest(mean))
        self._is_checked = True


def _idle_tree(token: int) -> Tree:
    branch = Branch(uid="idle", token_ids=(token,))
    return Tree(uid="idle", trunk_ids=(token,), branches=(branch,))
