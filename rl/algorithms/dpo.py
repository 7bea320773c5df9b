"""Direct preference optimization (DPO): learning from pairs of a better and a worse answer.

Every row holds a prompt, a chosen and a rejected answer. For each answer we ask how much likelier
the policy makes it than the reference (the weights with which the stage began) does: this is its
log-ratio. The loss pushes the chosen answer's log-ratio above the rejected answer's. No reward
model and no sampling is needed, and the reference keeps the policy from moving further than `beta`
allows.

Shapes: N trained tokens, B branches (completions), P preference pairs of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import logsigmoid

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

Variant = Literal["sigmoid", "ipo", "hinge", "robust", "apo_zero", "apo_down", "sigmoid_norm"]


@dataclass(frozen=True, kw_only=True)
class LogRatios:
    """log(pi / reference) of both answers of each pair, summed over tokens, and their lengths."""

    chosen_P: Tensor
    rejected_P: Tensor
    chosen_tokens_P: Tensor
    rejected_tokens_P: Tensor

    @property
    def margin_P(self) -> Tensor:
        """How far the chosen answer is above the rejected one."""
        return self.chosen_P - self.rejected_P

    @property
    def margin_per_token_P(self) -> Tensor:
        """The same with each answer's log-ratio divided by its length."""
        return self.chosen_P / self.chosen_tokens_P - self.rejected_P / self.rejected_tokens_P


# -- the loss of each pair, by variant: log-ratios, beta, label smoothing -> [P]


def sigmoid(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """DPO itself, arXiv 2305.18290 eq. 7: -log sigmoid(beta margin). With smoothing it is
    conservative DPO, which assumes that this share of the labels is wrong."""
    x_P = beta * log_ratios.margin_P
    return -(1 - smoothing) * logsigmoid(x_P) - smoothing * logsigmoid(-x_P)


def robust(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2403.00409: unbiased where labels are flipped with this probability."""
    x_P = beta * log_ratios.margin_P
    clean_P, flipped_P = -logsigmoid(x_P), -logsigmoid(-x_P)
    return ((1 - smoothing) * clean_P - smoothing * flipped_P) / (1 - 2 * smoothing)


def ipo(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2310.12036 eq. 17: the margin is pulled to 1 / (2 beta), not as far as it goes. On
    log-ratios per token, as its authors confirmed to TRL."""
    return (log_ratios.margin_per_token_P - 1 / (2 * beta)) ** 2


def sigmoid_norm(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """The sigmoid of log-ratios per token (Tülu 3, arXiv 2411.15124): length plays no part."""
    return -logsigmoid(beta * log_ratios.margin_per_token_P)


def hinge(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2305.10425 (SLiC) with log-ratios to the reference: no gradient beyond a margin of
    1 / beta."""
    return torch.relu(1 - beta * log_ratios.margin_P)


def apo_zero(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2408.06266 eq. 7: chosen up, rejected down. For answers better than the model's own."""
    chosen_P = torch.sigmoid(beta * log_ratios.chosen_P)
    return 1 - chosen_P + torch.sigmoid(beta * log_ratios.rejected_P)


def apo_down(log_ratios: LogRatios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2408.06266 eq. 8: both down, rejected more. For answers worse than the model's own."""
    chosen_P = torch.sigmoid(beta * log_ratios.chosen_P)
    return chosen_P + 1 - torch.sigmoid(beta * log_ratios.margin_P)


VARIANTS: dict[Variant, Callable[[LogRatios, float, float], Tensor]] = {
    "sigmoid": sigmoid,
    "ipo": ipo,
    "hinge": hinge,
    "robust": robust,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "sigmoid_norm": sigmoid_norm,
}


class DPO(Algorithm):
    """-log sigmoid of beta times the margin between the two answers' log-ratios:

        log_ratio(y) = sum over tokens of log pi(y) - log reference(y)
        loss = - sum over pairs of log sigmoid(beta (log_ratio(chosen) - log_ratio(rejected)))
               / pairs of the step

    Source: arXiv 2305.18290 eq. 7; each variant names its own; `ld_alpha`: arXiv 2409.06411.
    Denominator: pairs of the whole step; for the likelihood that `rpo_alpha` adds, trained tokens
    of the chosen answers of the whole step.
    Departs: from TRL 1.16, whose `sigmoid` leaves `label_smoothing` unread.

    One pair whose log-ratios are 0.2 and -0.1; log sigmoid(0.1 * 0.3) is -0.678:

    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-0.8, -1.1]),
    ...     branch_N=torch.tensor([0, 1]),
    ...     num_branches=2,
    ...     pair_B=torch.tensor([0, 0]),
    ...     columns={
    ...         "reference_logps": torch.tensor([-1.0, -1.0]),
    ...         "label": torch.tensor([True, False]),
    ...     },
    ... )
    >>> DPO(beta=0.1).loss(batch, Denominators(tokens=1, branches=2, pairs=1)).value
    tensor(0.6783)
    """

    name: ClassVar[str] = "dpo"

    beta: float = Field(0.1, gt=0, description="How closely the policy is held to the reference.")
    variant: Variant = Field("sigmoid", description="The loss of a pair.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of labels taken to be wrong (sigmoid, robust)."
    )
    rpo_alpha: float = Field(0.0, ge=0, description="Weight of the chosen answers' mean NLL.")
    ld_alpha: float = Field(
        1.0, ge=0, le=1, description="Weight of the tokens beyond the shorter answer's length."
    )

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> DPO:
        if self.label_smoothing and self.variant not in ("sigmoid", "robust"):
            raise ValueError(f"label_smoothing has no meaning for variant {self.variant!r}")
        return self

    @property
    def needs(self) -> Needs:
        return Needs("preference", reference=True)

    @property
    def implicit_beta(self) -> float:
        return self.beta

    def prepare(self, step: Step) -> MetricSums:
        fill_references(step)
        return {}

    def denominators(self, minibatch: Step) -> Denominators:
        # `tokens` divides only the likelihood of the chosen answers (`rpo_alpha`): count those.
        chosen = sum(tree.branches[0].num_trained for tree in minibatch.trees if tree.is_pair)
        return replace(count_trees(minibatch), tokens=minibatch.total([chosen])[0])

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        log_ratio_N = batch.policy_logp_N - batch.reference_logp_N
        log_ratio_B = batch.sum_by_branch(log_ratio_N * self.length_weight_N(batch))
        chosen_P, rejected_P = batch.by_pair(log_ratio_B)
        chosen_tokens_P, rejected_tokens_P = batch.by_pair(batch.tokens_by_branch())
        log_ratios = LogRatios(
            chosen_P=chosen_P,
            rejected_P=rejected_P,
            chosen_tokens_P=chosen_tokens_P,
            rejected_tokens_P=rejected_tokens_P,
        )
        loss_P = VARIANTS[self.variant](log_ratios, self.beta, self.label_smoothing)
        value = divide_by(loss_P.sum(), denominators.pairs)
        if self.rpo_alpha:
            chosen_logp_P, _ = batch.by_pair(batch.sum_by_branch(batch.policy_logp_N))
            value = value + self.rpo_alpha * divide_by(-chosen_logp_P.sum(), denominators.tokens)
        return Loss(value, self.metrics(batch, log_ratios))

    def length_weight_N(self, batch: TreeBatch) -> Tensor:
        """The weight of each token's log-ratio: 1 up to the length of the pair's shorter answer,
        `ld_alpha` beyond it: [N]."""
        if self.ld_alpha == 1.0:
            return torch.ones_like(batch.policy_logp_N)
        length_B = batch.tokens_by_branch()
        # Which branch is the chosen and which the rejected one of each pair, as indices into B.
        chosen_P, rejected_P = batch.by_pair(torch.arange(len(length_B), device=length_B.device))
        shorter_P = torch.minimum(length_B[chosen_P], length_B[rejected_P])
        shorter_B = length_B.index_copy(0, chosen_P, shorter_P)
        shorter_B = shorter_B.index_copy(0, rejected_P, shorter_P)
        is_shared_N = batch.position_N() < batch.per_token(shorter_B)
        return torch.where(is_shared_N, 1.0, self.ld_alpha)

    def metrics(self, batch: TreeBatch, log_ratios: LogRatios) -> dict[str, tuple[float, float]]:
        """The implicit rewards beta log(pi / reference) of both answers, how often the chosen one
        has the higher, and the answers' own log-probs."""
        chosen_P, rejected_P = batch.by_pair(batch.sum_by_branch(batch.policy_logp_N.detach()))
        is_right_P = log_ratios.chosen_P > log_ratios.rejected_P
        return {
            "rewards/chosen": mean_metric(self.beta * log_ratios.chosen_P),
            "rewards/rejected": mean_metric(self.beta * log_ratios.rejected_P),
            "rewards/margins": mean_metric(self.beta * log_ratios.margin_P),
            "rewards/accuracies": mean_metric(is_right_P.float()),
            "logps/chosen": mean_metric(chosen_P),
            "logps/rejected": mean_metric(rejected_P),
        }
