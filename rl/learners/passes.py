"""Forward passes over trees, whatever engine runs them: trees are packed into micro-batches, and
log-probs are put back in the order of the trees. `PlainForward` needs no learner at all: an engine
is compared with it where nothing trains (`plumbline eval`, `sample`).

Shapes: N trained tokens of a micro-batch. A branch is one completion of a tree's trunk.
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
from rl.learners.base import LearnerConfig, SamplingDistribution
from rl.models.forward import TreeForward
from rl.models.load import find_spec, load_model, load_processor
from rl.models.spec import Layout, ModelConfig, ModelSpec
from rl.runtime.actors import Handle

Forward = Callable[[MicroBatch], Tensor]  # log-probs of the trained tokens [N]
# How far the two layouts may differ. Float32: the largest difference (2e-6 is usual). Below, single
# tokens differ by the rounding of many layers, so the mean is held: 0.02 is a few bfloat16 steps.
LARGEST_FLOAT32, MEAN_BFLOAT16 = 1e-4, 0.02


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How trees become micro-batches of one model, and log-probs are collected from them:

        passes = Passes(spec=spec, store=ImageStore(spec), layout="tree",
                        row_tokens=256, tokens_per_microbatch=4096)
        for plan in passes.plans(trees):            # which trees share a row, no tensors yet
            batch = passes.batch(trees, plan)       # images are decoded here
            logp_N = forward(batch)
        by_branch = passes.logprobs(trees, forward) # the same without gradient, by tree and branch

    `never_without_image`: a micro-batch without images gets an empty one, so that the vision tower
    runs in every pass.
    """

    spec: ModelSpec
    store: ImageStore
    layout: Layout
    row_tokens: int
    tokens_per_microbatch: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    never_without_image: bool = False

    def plans(self, trees: Sequence[Tree]) -> list[Plan]:
        """The micro-batches of these trees, as positions in rows."""
        return pack(
            trees,
            layout=self.layout,
            row_tokens=self.row_tokens,
            tokens_per_microbatch=self.tokens_per_microbatch,
        )

    def batch(
        self, trees: Sequence[Tree], plan: Plan, *, finds_positions: bool = False
    ) -> MicroBatch:
        """One micro-batch as tensors on the device.

        `finds_positions`: leaves the position ids out, so that the model computes its own.
        """
        batch = collate(
            trees,
            plan,
            self.spec,
            self.store,
            layout=self.layout,
            dtype=self.dtype,
            finds_positions=finds_positions,
            never_without_image=self.never_without_image,
        )
        return batch if self.device == "cpu" else batch.to(self.device)

    def logprobs(self, trees: Sequence[Tree], forward: Forward) -> list[list[Tensor]]:
        """By tree and branch: the log-probs of the trained tokens [tokens], without gradient."""
        return self.gather(trees, (self.batch(trees, plan) for plan in self.plans(trees)), forward)

    def gather(
        self, trees: Sequence[Tree], batches: Iterator[MicroBatch], forward: Forward
    ) -> list[list[Tensor]]:
        """Runs the batches, and sorts their log-probs [N] by tree and branch: [tokens] each."""
        by_branch = [[torch.zeros(0) for _ in tree.branches] for tree in trees]
        for batch in batches:
            with torch.no_grad():
                logp_N = forward(batch).float().cpu()
            # The N tokens are sorted by branch: their counts say where each branch ends.
            lengths = torch.bincount(batch.branch_N.cpu(), minlength=len(batch.branches))
            pieces = torch.split(logp_N, lengths.tolist())
            for (tree, branch), piece in zip(batch.owners, pieces, strict=True):
                by_branch[tree][branch] = piece
        return by_branch

    def layout_gap(self, trees: Sequence[Tree], forward: Forward) -> tuple[float, float]:
        """(largest, mean) difference of log-probs between this layout and plain rows.

        Both are computed in one pass each. The rows' side shares nothing with the other: it has a
        plain causal mask, and the model computes the positions by itself.
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
        """Raises: ModelError if the layouts differ by more than rounding (see `layout_gap`)."""
        if self.dtype == torch.float32:
            agrees, limit = largest <= LARGEST_FLOAT32, f"{LARGEST_FLOAT32} at most"
        else:
            agrees, limit = mean <= MEAN_BFLOAT16, f"{MEAN_BFLOAT16} on average"
        if not agrees:
            raise ModelError(
                "tree and rows layout give different log-probs"
                f" (largest difference {largest:.1e}, mean {mean:.1e})",
                where=self.spec.name,
                expected=limit,
                do="set learner.layout: rows",
            )


# -- without a learner


class PlainForward:
    """The learner's own forward pass (`TreeForward`) over the weights of one folder.

        forward = PlainForward(LearnerConfig(), ModelConfig(path="models/base"), "models/base")
        by_branch = forward.logprobs(trees, distribution)

    config: dtype, threads and packing, as the learner has them; on a GPU where `config.gpus` asks
        for one. model: its `max_pixels`.
    Raises: ModelError if the folder does not load.
    """

    def __init__(self, config: LearnerConfig, model: ModelConfig, folder: str) -> None:
        torch.set_num_threads(config.threads)
        device = "cuda" if config.gpus and torch.cuda.is_available() else "cpu"
        spec = find_spec(folder, load_processor(folder, model.max_pixels))
        self._forward = TreeForward(load_model(folder, config.dtype).to(device), spec)
        self._passes = Passes(
            spec=spec,
            store=ImageStore(spec),
            layout=spec.layout if config.layout == "auto" else config.layout,
            row_tokens=config.row_tokens,
            tokens_per_microbatch=config.tokens_per_microbatch,
            dtype=getattr(torch, config.dtype),
            device=device,
        )

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution
    ) -> list[list[tuple[float, ...]]]:
        """By tree and branch: log-probs of the trained tokens [tokens], without gradient."""

        def forward(batch: MicroBatch) -> Tensor:
            logp_N: Tensor = self._forward(batch, distribution.temperature, distribution.banned_ids)
            return logp_N

        found = self._passes.logprobs(trees, forward)
        return [[tuple(values.tolist()) for values in branches] for branches in found]


class RemoteForward:
    """A PlainForward in an actor, with the interface that the parity gate asks for
    (`rl.runtime.parity.ProbeLearner`).

        gate.check(RemoteForward(handle, deadline_s=600), pool, version=0)
    """

    def __init__(self, handle: Handle, *, deadline_s: float) -> None:
        self._handle, self._deadline_s = handle, deadline_s

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        """As PlainForward.logprobs. There is no reference."""
        assert not reference, "a plain forward keeps no reference"
        found: list[list[tuple[float, ...]]] = self._handle.call(
            "logprobs", list(trees), distribution, deadline_s=self._deadline_s
        )
        return found
