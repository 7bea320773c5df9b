"""What a forward pass takes and what a loss reads, for one micro-batch.

`MicroBatch` is the input of the model: padded rows of token ids, masks, positions and images.
`TreeBatch` is the input of the loss: only the tokens that are trained, flat and without padding.
The data package makes the first, the model turns it into log-probs, `MicroBatch.tree_batch` makes
the second of them, and an algorithm reads it.

Shapes: a tensor's name ends with the letters of its dimensions.
N trained tokens of the micro-batch, B branches (completions) of the micro-batch, P preference
pairs, R rows of the model's input, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl.data.tree import Branch
from rl.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """The trained tokens of one micro-batch, flat: no padding, so the mathematics has no mask.

    policy_logp_N (Tensor [N]): log-probs of the trained tokens under the policy, with gradient.
        The tokens lie in the order of their branches.
    branch_N (Tensor [N]): which branch each token belongs to, from 0.
    num_branches: B.
    pair_B (Tensor [B]): which preference pair each branch belongs to, -1 for none; None where the
        micro-batch has no pair.
    columns: what else is known, by the names of `Branch.columns`: a tensor [B] where the branches
        hold one value each, [N] where they hold one for each trained token.

    Two answers, of two and of one token:

    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-0.5, -1.0, -2.0]),
    ...     branch_N=torch.tensor([0, 0, 1]),
    ...     num_branches=2,
    ...     columns={"advantage": torch.tensor([1.0, -1.0])},
    ... )
    >>> batch.sum_by_branch(batch.policy_logp_N)
    tensor([-1.5000, -2.0000])
    >>> batch.per_token(batch.advantage_B)
    tensor([ 1.,  1., -1.])
    """

    policy_logp_N: Tensor
    branch_N: Tensor
    num_branches: int
    pair_B: Tensor | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def column(self, name: str) -> Tensor:
        """A column that every branch has: a tensor [B] or [N].

        Raises: LookupError naming the columns that are there.
        """
        if name not in self.columns:
            raise LookupError(
                f"the batch has no column {name!r}, only: {', '.join(self.columns) or 'none'}. "
                "Let `prepare` give it to every branch, or `make_tree` and name it in needs.columns"
            )
        return self.columns[name]

    @property
    def reference_logp_N(self) -> Tensor:
        """Log-probs under the reference: [N]."""
        return self.column("reference_logps")

    @property
    def behavior_logp_N(self) -> Tensor:
        """Log-probs under which the engine sampled the tokens: [N]."""
        return self.column("behavior_logps")

    @property
    def advantage_B(self) -> Tensor:
        """How much better each answer is than its baseline: [B]."""
        return self.column("advantage")

    @property
    def label_B(self) -> Tensor:
        """True for chosen or desirable answers: [B], boolean."""
        return self.column("label").bool()

    def per_token(self, value_B: Tensor) -> Tensor:
        """Gives each token its branch's value: [B] -> [N]."""
        return value_B[self.branch_N]

    def sum_by_branch(self, value_N: Tensor) -> Tensor:
        """Adds up the tokens of each branch: [N] -> [B]."""
        return value_N.new_zeros(self.num_branches).index_add(0, self.branch_N, value_N)

    def tokens_by_branch(self) -> Tensor:
        """How many trained tokens each branch has: [B], in the dtype of the log-probs."""
        counts_B = torch.bincount(self.branch_N, minlength=self.num_branches)
        return counts_B.to(self.policy_logp_N.dtype)

    def position_N(self) -> Tensor:
        """Each token's position among the trained tokens of its branch, from 0: [N]."""
        # Tokens lie in the order of their branches: a branch begins where the ones before it end.
        length_B = torch.bincount(self.branch_N, minlength=self.num_branches)
        start_B = length_B.cumsum(0) - length_B
        return torch.arange(len(self.branch_N), device=start_B.device) - start_B[self.branch_N]

    def by_pair(self, value_B: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the chosen and of the rejected branches, both in the order of the pairs:
        [B] -> [P], [P].

        Raises: LookupError where the micro-batch has no pair or no labels.
        """
        if self.pair_B is None:
            raise LookupError("the batch has no preference pairs: its trees are not `is_pair`")
        # The two branches of a pair may be anywhere in the batch: sorting by pair number brings
        # them together, and what belongs to no pair (-1) is left out.
        order_B = torch.argsort(self.pair_B, stable=True)
        order_B = order_B[self.pair_B[order_B] >= 0]
        is_chosen_B = self.label_B[order_B]
        return value_B[order_B[is_chosen_B]], value_B[order_B[~is_chosen_B]]


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What one forward pass takes, and where in its output the trained tokens are.

    input_ids (Tensor [R, T]): token ids, padded with the end token.
    attention: [R, 1, T, T] additive (tree layout; or what the family's `attention` makes of it), or
        [R, T] ones and zeros (rows layout).
    positions (Tensor [R, T] or [3, R, T]): position ids; None: the model finds them itself.
    images: the inputs of the distinct images, joined, by the names of the model's arguments.
    image_order: which of the distinct images fills each run of placeholders, row by row.
    own_positions: arguments from which the model finds positions itself (a check only).
    predict_N (Tensor [N]): index into the flat [R * T] hidden states: the position before each
        trained token, which predicts it.
    target_N (Tensor [N]): the trained tokens' ids.
    branch_N (Tensor [N]): which branch each trained token belongs to, from 0.
    branches: the B branches.
    owners: (tree, branch) of each branch, as indices into the trees of the step.
    pair_B: the number of each branch's preference pair, -1 for none.

    The learner's use of it:

        batch = collate(trees, plan, spec, store, layout="tree")
        logp_N = forward(batch)                        # one forward pass of the model
        loss = algorithm.loss(batch.tree_batch(logp_N), denominators)
    """

    input_ids: Tensor
    attention: Any
    positions: Tensor | None
    images: Mapping[str, Tensor] | None
    image_order: tuple[int, ...]
    own_positions: Mapping[str, Any]
    predict_N: Tensor
    target_N: Tensor
    branch_N: Tensor
    branches: tuple[Branch, ...]
    owners: tuple[tuple[int, int], ...]
    pair_B: tuple[int, ...]

    def to(self, device: torch.device | str) -> MicroBatch:
        """The same on another device."""
        moved = {
            name: _moved(value, device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor | dict)
        }
        return replace(self, **moved)

    def tree_batch(self, policy_logp_N: Tensor) -> TreeBatch:
        """What the loss reads: the log-probs, and every column that the branches hold.

        policy_logp_N (Tensor [N]): log-probs of `target_N`.

        Raises: DataError where only some branches hold a column, or a column has not one entry for
        each trained token.
        """
        device = policy_logp_N.device
        names = dict.fromkeys(name for branch in self.branches for name in branch.columns)
        return TreeBatch(
            policy_logp_N=policy_logp_N,
            branch_N=self.branch_N.to(device),
            num_branches=len(self.branches),
            pair_B=torch.tensor(self.pair_B, device=device) if max(self.pair_B) >= 0 else None,
            columns={name: self._column(name, device) for name in names},
        )

    def _column(self, name: str, device: torch.device) -> Tensor:
        counts = torch.bincount(self.branch_N, minlength=len(self.branches)).tolist()
        flat: list[float] = []
        is_per_token = any(isinstance(b.columns.get(name), tuple) for b in self.branches)
        for branch, count in zip(self.branches, counts, strict=True):
            value, where = branch.columns.get(name), f"branch {branch.uid}"
            if value is None:
                raise DataError(
                    f"no {name}, though other branches of its micro-batch have one", where=where
                )
            entries = value if isinstance(value, tuple) else (value,)
            wanted = count if is_per_token else 1
            if len(entries) != wanted or isinstance(value, tuple) != is_per_token:
                raise DataError(
                    f"{len(entries)} {name} for {wanted} trained tokens",
                    where=where,
                    expected="one entry a trained token in every branch, or one number in every",
                )
            flat += entries
        # Booleans stay booleans; numbers are float32, as the log-probs of a forward pass are.
        is_boolean = bool(flat) and all(isinstance(item, bool) for item in flat)
        values = np.array(flat, dtype=np.bool_ if is_boolean else np.float32)
        return torch.from_numpy(values).to(device)


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
