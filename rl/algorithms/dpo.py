"""Direct preference optimization: the better answer's log-ratio above the worse one's."""

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
    Needs,
    Step,
    count_step,
    divide_by,
    fill_references,
    mean_metric,
)
from rl.batch import TreeBatch

Variant = Literal["sigmoid", "ipo", "hinge", "robust", "apo_zero", "apo_down", "sigmoid_norm"]


@dataclass(frozen=True)
class Ratios:
    """What a variant sees of each pair: log(pi / ref) of both answers, and their lengths."""

    chosen_P: Tensor
    rejected_P: Tensor
    chosen_length_P: Tensor
    rejected_length_P: Tensor

    @property
    def margin_P(self) -> Tensor:
        return self.chosen_P - self.rejected_P

    @property
    def mean_margin_P(self) -> Tensor:
        """The margin of the log-ratios per token."""
        return self.chosen_P / self.chosen_length_P - self.rejected_P / self.rejected_length_P


def sigmoid(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2305.18290 eq. 7; with smoothing, conservative DPO (labels wrong that often)."""
    x_P = beta * r.margin_P
    return -(1 - smoothing) * logsigmoid(x_P) - smoothing * logsigmoid(-x_P)


def robust(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2403.00409: unbiased where labels are flipped with that probability."""
    x_P = beta * r.margin_P
    clean_P, flipped_P = -logsigmoid(x_P), -logsigmoid(-x_P)
    return ((1 - smoothing) * clean_P - smoothing * flipped_P) / (1 - 2 * smoothing)


def ipo(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2310.12036 eq. 17 on log-ratios per token, as its authors confirmed to TRL."""
    return (r.mean_margin_P - 1 / (2 * beta)) ** 2


def sigmoid_norm(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """The sigmoid of log-ratios per token (Tülu 3, arXiv 2411.15124)."""
    return -logsigmoid(beta * r.mean_margin_P)


def hinge(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2305.10425 (SLiC) with log-ratios to the reference."""
    return torch.relu(1 - beta * r.margin_P)


def apo_zero(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2408.06266 eq. 7: chosen up, rejected down; for answers better than the model's."""
    return 1 - torch.sigmoid(beta * r.chosen_P) + torch.sigmoid(beta * r.rejected_P)


def apo_down(r: Ratios, beta: float, smoothing: float) -> Tensor:
    """arXiv 2408.06266 eq. 8: both down, rejected more; for answers worse than the model's."""
    return torch.sigmoid(beta * r.chosen_P) + 1 - torch.sigmoid(beta * r.margin_P)


VARIANTS: dict[Variant, Callable[[Ratios, float, float], Tensor]] = {
    "sigmoid": sigmoid,
    "ipo": ipo,
    "hinge": hinge,
    "robust": robust,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "sigmoid_norm": sigmoid_norm,
}


class DPO(Algorithm):
    """-log sigmoid(beta ((s_w - s_w_ref) - (s_l - s_l_ref))), s the summed log-prob of an answer.

    Source: arXiv 2305.18290 eq. 7, the variants' at each; `ld_alpha`: arXiv 2409.06411.
    Denominator: pairs of the whole step; `rpo_alpha`'s likelihood: chosen tokens of the whole step.
    Departs: from TRL, whose `sigmoid` leaves `label_smoothing` unread.
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

    def prepare(self, step: Step) -> Denominators:
        fill_references(step)
        chosen = sum(tree.branches[0].num_trained for tree in step.trees if tree.is_pair)
        return replace(count_step(step), tokens=step.total([chosen])[0])

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        ratio_N = (batch.policy_logp_N - batch.reference_logp_N) * self.length_weight_N(batch)
        ratios = Ratios(
            *batch.by_pair(batch.sum_by_branch(ratio_N)), *batch.by_pair(batch.tokens_by_branch())
        )
        loss_P = VARIANTS[self.variant](ratios, self.beta, self.label_smoothing)
        value = divide_by(loss_P.sum(), denominators.pairs)
        if self.rpo_alpha:
            chosen_P, _ = batch.by_pair(batch.sum_by_branch(batch.policy_logp_N))
            value = value + self.rpo_alpha * divide_by(-chosen_P.sum(), denominators.tokens)
        return Loss(value, self.metrics(batch, ratios))

    def length_weight_N(self, batch: TreeBatch) -> Tensor:
        """1 up to the length of the pair's shorter answer, `ld_alpha` beyond it."""
        if self.ld_alpha == 1.0:
            return torch.ones_like(batch.policy_logp_N)
        length_B = batch.tokens_by_branch()
        chosen_P, rejected_P = batch.by_pair(torch.arange(len(length_B), device=length_B.device))
        shared_P = torch.minimum(length_B[chosen_P], length_B[rejected_P])
        shared_B = length_B.index_copy(0, chosen_P, shared_P).index_copy(0, rejected_P, shared_P)
        is_shared_N = batch.position_N() < batch.per_token(shared_B)
        return torch.where(is_shared_N, 1.0, self.ld_alpha)

    def metrics(self, batch: TreeBatch, ratios: Ratios) -> dict[str, tuple[float, float]]:
        """Implicit rewards beta log(pi / ref) and how often the chosen answer has the higher."""
        chosen_P, rejected_P = batch.by_pair(batch.sum_by_branch(batch.policy_logp_N.detach()))
        return {
            "rewards/chosen": mean_metric(self.beta * ratios.chosen_P),
            "rewards/rejected": mean_metric(self.beta * ratios.rejected_P),
            "rewards/margins": mean_metric(self.beta * ratios.margin_P),
            "rewards/accuracies": mean_metric((ratios.chosen_P > ratios.rejected_P).float()),
            "logps/chosen": mean_metric(chosen_P),
            "logps/rejected": mean_metric(rejected_P),
        }
