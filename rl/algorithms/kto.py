"""Kahneman-Tversky optimization: single answers that are desirable or not, no pairs needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rl.algorithms.base import (
    Algorithm,
    Denominators,
    Loss,
    Needs,
    Step,
    count_step,
    divide_by,
    fill_references,
    mean_metric,
)
from rl.batch import TreeBatch
from rl.core import Labelled
from rl.data.tree import Branch, Tree
from rl.errors import DataError


class KTO(Algorithm):
    """lambda_y (1 - sigmoid(+-beta (r - z))), r = s - s_ref; + for desirable answers, - for others.

    z = max(0, mean over the step of s(x, y') - s_ref(x, y')), detached, y' another prompt's answer.
    `apo_zero_unpaired` is the same with z = 0.

    Source: arXiv 2402.01306 eq. 7; arXiv 2408.06266 for the variant.
    Denominator: branches of the whole step.
    Departs: z is over the whole step, not a micro-batch; neighbours have different prompts.
    """

    name: ClassVar[str] = "kto"

    beta: float = Field(0.1, gt=0, description="How closely the policy is held to the reference.")
    desirable_weight: float = Field(1.0, ge=0, description="lambda_D")
    undesirable_weight: float = Field(1.0, ge=0, description="lambda_U")
    variant: Literal["kto", "apo_zero_unpaired"] = "kto"

    @property
    def needs(self) -> Needs:
        return Needs("labelled", reference=True, reference_each_step=self.variant == "kto")

    @property
    def implicit_beta(self) -> float:
        return self.beta

    def arrange(self, trees: list[Tree]) -> list[Tree]:
        """Every row gets another prompt's answer beside its own, for z."""
        return rotate_answers(trees) if self.variant == "kto" else trees

    def data_warning(self, records: Sequence[Labelled]) -> str | None:
        if self.variant == "kto":
            return self.balance_warning([record.label for record in records])
        return None

    def prepare(self, step: Step) -> Denominators:
        z = self.divergence(step) if self.variant == "kto" else 0.0
        fill_references(step)
        return replace(count_step(step), baseline=z, metrics={"kto/z": (z, 1.0)})

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        label_B = batch.label_B
        ratio_B = batch.sum_by_branch(batch.policy_logp_N - batch.reference_logp_N)
        gain_B = self.beta * (ratio_B - denominators.baseline)
        value_B = torch.where(label_B, torch.sigmoid(gain_B), torch.sigmoid(-gain_B))
        weight_B = torch.where(label_B, self.desirable_weight, self.undesirable_weight)
        loss_B = weight_B * (1 - value_B)
        return Loss(
            divide_by(loss_B.sum(), denominators.branches), self.metrics(batch, ratio_B, label_B)
        )

    def divergence(self, step: Step) -> float:
        """z: the mean log-ratio of mismatched answers over all ranks, clamped at 0 afterwards.

        Raises: DataError where no row of the step carries a mismatched answer.
        """
        trees = [
            replace(tree, branches=(tree.mismatched,), trunk_trained=None, mismatched=None)
            for tree in step.trees
            if tree.mismatched is not None
        ]
        (num_rows,) = step.total([len(trees)])
        if not num_rows:
            raise DataError(
                "no row of the step has a mismatched answer",
                expected="a step that went through rotate_answers",
            )
        policy = _summed(step.logprobs(trees))
        reference = _summed(step.logprobs(trees, reference=True))
        (total,) = step.total([sum(policy) - sum(reference)])
        return max(0.0, total / num_rows)

    def metrics(
        self, batch: TreeBatch, ratio_B: Tensor, label_B: Tensor
    ) -> dict[str, tuple[float, float]]:
        """Implicit rewards and log-probs of the two kinds of answers."""
        reward_B = self.beta * ratio_B
        logp_B = batch.sum_by_branch(batch.policy_logp_N.detach())
        return {
            "rewards/chosen": mean_metric(reward_B[label_B]),
            "rewards/rejected": mean_metric(reward_B[~label_B]),
            "logps/chosen": mean_metric(logp_B[label_B]),
            "logps/rejected": mean_metric(logp_B[~label_B]),
            "kto/desirable": mean_metric(label_B.float()),
        }

    def balance_warning(self, labels: Sequence[bool]) -> str | None:
        """One line where a data set's sides, weighted, lie outside the paper's 1 to 4/3."""
        desirable = self.desirable_weight * sum(labels)
        undesirable = self.undesirable_weight * (len(labels) - sum(labels))
        if undesirable and 1 <= desirable / undesirable <= 4 / 3:
            return None
        return (
            f"KTO: {sum(labels)} desirable and {len(labels) - sum(labels)} undesirable answers "
            f"weigh {desirable:g} to {undesirable:g}; set desirable_weight and undesirable_weight "
            "so that the first is 1 to 4/3 times the second"
        )


def _summed(found: Sequence[Sequence[Tensor]]) -> list[float]:
    """A tree's first branch: its log-probs added up."""
    return [float(branches[0].sum()) for branches in found]


def rotate_answers(trees: Sequence[Tree]) -> list[Tree]:
    """The step in an order whose neighbours have different prompts, each row with a `mismatched`.

    It is the previous row's answer (row 0 takes the last one's), under this row's prompt and image.
    The order given is kept where it already serves. Where one prompt owns more than half of the
    rows, those that no other prompt's answer is left for come last, without a mismatched answer,
    and z leaves them out.

    Raises: DataError where the step has one row or one prompt: z would compare an answer to itself.
    """
    keys = [_prompt(tree) for tree in trees]
    if len(set(keys)) < 2:
        raise DataError(
            f"a KTO step of {len(trees)} row(s) has a single prompt",
            expected="answers of at least two prompts in every optimizer step",
            do="raise prompts_per_step or shuffle the data",
        )
    order, alone = _spread(keys)
    ring = [trees[index] for index in order]
    rotated = [
        replace(tree, mismatched=_answer(before))
        for before, tree in zip([ring[-1], *ring[:-1]], ring, strict=True)
    ]
    return rotated + [replace(trees[index], mismatched=None) for index in alone]


def _prompt(tree: Tree) -> Hashable:
    return tree.trunk_ids, tree.images


def _answer(tree: Tree) -> Branch:
    """The answer without what was known of it under its own prompt."""
    answer = tree.branches[0]
    return Branch(uid=answer.uid, token_ids=answer.token_ids, trained=answer.trained)


def _spread(keys: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """A ring of rows without equal neighbours, and the rows that no ring has room for."""
    if all(key != before for before, key in zip([keys[-1], *keys[:-1]], keys, strict=True)):
        return list(range(len(keys))), []
    frequency = Counter(keys)
    first = {key: -row for row, key in enumerate(reversed(keys), start=1 - len(keys))}
    rows = sorted(range(len(keys)), key=lambda row: (-frequency[keys[row]], first[keys[row]], row))
    most = frequency[keys[rows[0]]]
    num_alone = max(0, 2 * most - len(keys))
    alone, rows = rows[most - num_alone : most], rows[: most - num_alone] + rows[most:]
    # Rows of one prompt lie together here: every second place first, then the places between.
    ring = [0] * len(rows)
    ring[::2], ring[1::2] = rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]
    return ring, alone
