"""Kahneman-Tversky optimization (KTO): learning from single answers marked good or bad.

Every row holds a prompt, one answer, and whether that answer is desirable. No pairs are needed, as
when users press thumbs up or down. As in DPO an answer is measured by its log-ratio, how much
likelier the policy makes it than the reference does. The loss pushes the log-ratio of desirable
answers above a baseline z, and that of undesirable answers below it.

z says how far the policy has moved from the reference at all. It is estimated from mismatched
answers: each prompt of the step is paired with another prompt's answer (`rotate_answers`), and z is
the mean log-ratio of these, at least 0 and without gradient. An answer then counts as better only
where it gained more than any answer would have.

Shapes: B branches (completions) of the micro-batch; a row of KTO has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rl.algorithms.base import (
    Algorithm,
    Denominators,
    Loss,
    MetricSums,
    Needs,
    Step,
    count_trees,
    divide_by,
    fill_references,
    mean_metric,
)
from rl.batch import TreeBatch
from rl.core import Labelled
from rl.data.tree import Branch, Tree
from rl.errors import DataError


class KTO(Algorithm):
    """The share by which each answer falls short of, or is above, the baseline z:

        log_ratio(y) = sum over tokens of log pi(y) - log reference(y)
        desirable:     loss(y) = lambda_D (1 - sigmoid(beta (log_ratio(y) - z)))
        undesirable:   loss(y) = lambda_U (1 - sigmoid(beta (z - log_ratio(y))))
        loss = sum of loss(y) / answers of the step

    `apo_zero_unpaired` is the same with z = 0, and needs no mismatched answers.

    Source: arXiv 2402.01306 eq. 7; arXiv 2408.06266 for the variant.
    Denominator: branches of the whole step.
    Departs: from TRL 1.16, whose z is a micro-batch's. Here it is the whole step's, and neighbours
    in the rotation have different prompts.

    A desirable answer with log-ratio 0.4, where z is 0; sigmoid(0.1 * 0.4) is 0.51:

    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-0.6]),
    ...     branch_N=torch.tensor([0]),
    ...     num_branches=1,
    ...     columns={"reference_logps": torch.tensor([-1.0]), "label": torch.tensor([True])},
    ... )
    >>> KTO(beta=0.1).loss(batch, Denominators(tokens=1, branches=1, pairs=0)).value
    tensor(0.4900)
    """

    name: ClassVar[str] = "kto"
    own_metrics: ClassVar[Mapping[str, str]] = {
        "kto/z": "KTO's z: the mean log-ratio of mismatched answers over the step, at least 0.",
        "kto/desirable": "Share of desirable answers.",
    }

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
        """Each row gets another prompt's answer beside its own, where z is computed."""
        return rotate_answers(trees) if self.variant == "kto" else trees

    def prepare(self, step: Step) -> MetricSums:
        fill_references(step)
        return {}

    def denominators(self, minibatch: Step) -> Denominators:
        z = self.divergence(minibatch) if self.variant == "kto" else 0.0
        return replace(count_trees(minibatch), baseline=z, metrics={"kto/z": (z, 1.0)})

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        label_B, z = batch.label_B, denominators.baseline
        log_ratio_B = batch.sum_by_branch(batch.policy_logp_N - batch.reference_logp_N)
        gain_B = self.beta * (log_ratio_B - z)
        value_B = torch.where(label_B, torch.sigmoid(gain_B), torch.sigmoid(-gain_B))
        weight_B = torch.where(label_B, self.desirable_weight, self.undesirable_weight)
        loss_B = weight_B * (1 - value_B)
        value = divide_by(loss_B.sum(), denominators.branches)
        return Loss(value, self.metrics(batch, log_ratio_B))

    def divergence(self, minibatch: Step) -> float:
        """z: the mean log-ratio of the mini-batch's mismatched answers. The mean is taken over all
        ranks and clamped at 0 afterwards: clamping each rank's mean would bias it upwards.

        Raises: DataError where no row of the mini-batch has a mismatched answer.
        """
        trees = [
            replace(tree, branches=(tree.mismatched,), trunk_trained=None, mismatched=None)
            for tree in minibatch.trees
            if tree.mismatched is not None
        ]
        (num_rows,) = minibatch.total([len(trees)])
        if not num_rows:
            raise DataError(
                "no row of the mini-batch has a mismatched answer",
                expected="a step that went through rotate_answers",
            )
        policy = [float(branches[0].sum()) for branches in minibatch.logprobs(trees)]
        reference = [
            float(branches[0].sum()) for branches in minibatch.logprobs(trees, reference=True)
        ]
        (total,) = minibatch.total([sum(policy) - sum(reference)])
        return max(0.0, total / num_rows)

    def metrics(self, batch: TreeBatch, log_ratio_B: Tensor) -> dict[str, tuple[float, float]]:
        """Implicit rewards beta log(pi / reference) and log-probs of the two kinds of answers."""
        label_B, reward_B = batch.label_B, self.beta * log_ratio_B
        logp_B = batch.sum_by_branch(batch.policy_logp_N.detach())
        return {
            "rewards/chosen": mean_metric(reward_B[label_B]),
            "rewards/rejected": mean_metric(reward_B[~label_B]),
            "logps/chosen": mean_metric(logp_B[label_B]),
            "logps/rejected": mean_metric(logp_B[~label_B]),
            "kto/desirable": mean_metric(label_B.float()),
        }

    def data_warning(self, records: Sequence[Labelled]) -> str | None:
        if self.variant != "kto":
            return None
        return self.balance_warning([record.label for record in records])

    def balance_warning(self, labels: Sequence[bool]) -> str | None:
        """A sentence where the weights of all desirable and of all undesirable answers are not in
        the ratio that the paper recommends, 1 to 4/3; else None.

        >>> KTO().balance_warning([True, False]) is None
        True
        """
        desirable = self.desirable_weight * sum(labels)
        undesirable = self.undesirable_weight * (len(labels) - sum(labels))
        if undesirable and 1 <= desirable / undesirable <= 4 / 3:
            return None
        return (
            f"KTO: {sum(labels)} desirable and {len(labels) - sum(labels)} undesirable answers "
            f"weigh {desirable:g} to {undesirable:g}; set desirable_weight and undesirable_weight "
            "so that the first is 1 to 4/3 times the second"
        )


def rotate_answers(trees: Sequence[Tree]) -> list[Tree]:
    """Gives each row a `mismatched` answer: the previous row's answer, to be scored under this
    row's prompt and image. Row 0 takes the last row's.

    The rows are put into an order in which neighbours have different prompts; the order given is
    kept where it already has this property. Where one prompt has more than half of the rows, no
    other prompt's answer is left for some of them: these come last, without a mismatched answer,
    and z leaves them out.

    Raises: DataError where the step has one row or one prompt: z would compare an answer to itself.

    >>> def row(prompt: int, uid: str) -> Tree:
    ...     return Tree(
    ...         uid=uid, trunk_ids=(prompt,), branches=(Branch(uid=uid, token_ids=(7,)),)
    ...     )
    >>> rows = rotate_answers([row(1, "a"), row(1, "b"), row(2, "c"), row(3, "d")])
    >>> [(tree.uid, tree.mismatched.uid) for tree in rows if tree.mismatched is not None]
    [('a', 'd'), ('c', 'a'), ('b', 'c'), ('d', 'b')]
    """
    prompts: list[Hashable] = [(tree.trunk_ids, tree.images) for tree in trees]
    if len(set(prompts)) < 2:
        raise DataError(
            f"a KTO step of {len(trees)} row(s) has a single prompt",
            expected="answers of at least two prompts in every optimizer step",
            do="raise prompts_per_step or shuffle the data",
        )
    order, alone = _spread(prompts)
    ring = [trees[index] for index in order]
    rotated = []
    for before, tree in zip([ring[-1], *ring[:-1]], ring, strict=True):
        answer = before.branches[0]
        # Without its columns: they were measured under the answer's own prompt.
        bare = Branch(uid=answer.uid, token_ids=answer.token_ids, trained=answer.trained)
        rotated.append(replace(tree, mismatched=bare))
    return rotated + [replace(trees[index], mismatched=None) for index in alone]


def _spread(prompts: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """Row numbers in a ring without equal neighbours, and the rows for which it has no room."""
    before = [prompts[-1], *prompts[:-1]]
    if all(a != b for a, b in zip(before, prompts, strict=True)):
        return list(range(len(prompts))), []
    frequency = Counter(prompts)
    first: dict[Hashable, int] = {}
    for row, prompt in enumerate(prompts):
        first.setdefault(prompt, row)
    # Sorted, the rows of one prompt lie together, the most frequent prompt first.
    rows = sorted(
        range(len(prompts)),
        key=lambda row: (-frequency[prompts[row]], first[prompts[row]], row),
    )
    most = frequency[prompts[rows[0]]]
    # A ring has room for the most frequent prompt in every second place, and in no more.
    num_alone = max(0, 2 * most - len(prompts))
    alone, rows = rows[most - num_alone : most], rows[: most - num_alone] + rows[most:]
    # The even places are filled in this order, then the odd ones: rows of one prompt, which lie
    # together in `rows`, come to lie two places apart.
    ring = [0] * len(rows)
    ring[::2], ring[1::2] = rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]
    return ring, alone
