"""Group-relative policy optimization: each answer against the others of its own prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rl.algorithms.advantages import group_advantages, has_no_signal, rewards_of, std_over_step
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
from rl.algorithms.mismatch import Mismatch, log_mismatch_N
from rl.batch import TreeBatch
from rl.data.tree import Tree

EXP_LIMIT = 20.0  # log-ratios are clamped to +-20 before exp in the KL term
Normalise = Literal["dapo", "grpo", "dr_grpo"]


@dataclass(frozen=True)
class Terms:
    """What the loss of a micro-batch is made of, kept for the metrics."""

    ratio_N: Tensor
    advantage_N: Tensor
    old_logp_N: Tensor
    weight_N: Tensor | None
    kl_N: Tensor | None


class GRPO(Algorithm):
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) w + kl_coef k3, A within the group.

    A = (r - mean) / (std + 1e-4), rho = pi / pi_old (pi_old = detached pi where no old log-probs
    are given), k3 = exp(-k1) + k1 - 1, k1 = log pi - log ref, times rho (`kl_bias_correction`).

    Source: arXiv 2402.03300 eq. 3 and 4; clip-higher and token mean: arXiv 2503.14476;
    `dr_grpo`: arXiv 2503.20783; KL times rho: arXiv 2512.02556; `delta`: arXiv 2505.07291.
    Denominator (`normalise`): `dapo` trained tokens, `grpo` branches after each branch's own mean,
    `dr_grpo` branches times `length_limit` (use with `scale: none`); all of the whole step, without
    dropped groups and excluded truncated answers, whose rewards stay in their group's mean.
    Departs: from TRL, which trains on truncated answers, keeps equal groups, has one clip of 0.2,
    and masks by the product of w, not by its geometric mean.
    """

    name: ClassVar[str] = "grpo"

    group_size: int = Field(8, ge=1, description="Answers sampled a prompt.")
    scale: Literal["group", "batch", "none"] = Field("group", description="Whose std divides A.")
    clip_low: float = Field(0.2, ge=0, lt=1)
    clip_high: float = Field(0.28, ge=0)
    delta: float | None = Field(None, gt=1, description="Upper limit of rho where A < 0.")
    kl_coef: float = Field(0.0, ge=0, description="Weight of the divergence from the reference.")
    kl_bias_correction: bool = Field(True, description="k3 times rho: an unbiased gradient.")
    normalise: Normalise = "dapo"
    length_limit: int | None = Field(None, ge=1, description="Tokens; `dr_grpo` divides by it.")
    drop_equal_groups: bool = Field(True, description="Groups without a difference leave the step.")
    train_truncated: bool = Field(False, description="Answers ended by the length limit are kept.")
    mismatch: Mismatch | None = Field(Mismatch(), description="null: the engine is trusted.")

    @model_validator(mode="after")
    def _length_limit_is_given(self) -> GRPO:
        if (self.normalise == "dr_grpo") != (self.length_limit is not None):
            raise ValueError("length_limit belongs to normalise: dr_grpo, and it needs one")
        if self.delta is not None and self.delta <= 1 + self.clip_high:
            raise ValueError(f"delta {self.delta} must be above 1 + clip_high {self.clip_high}")
        return self

    @property
    def needs(self) -> Needs:
        return Needs("group", online=True, reference=self.kl_coef > 0)

    def prepare(self, step: Step) -> Denominators:
        branches = [branch for tree in step.trees for branch in tree.branches]
        metrics = {
            "frac_zero_std": _share([has_no_signal(rewards_of(tree)) for tree in step.trees]),
            "frac_truncated": _share([branch.is_truncated for branch in branches]),
            "frac_unscored": _share([branch.reward is None for branch in branches]),
        }
        batch_std = std_over_step(step) if self.scale == "batch" else None
        groups = [self.with_advantages(tree, batch_std) for tree in step.trees]
        step.trees = [tree for tree in groups if tree is not None]
        if self.kl_coef > 0:
            fill_references(step)
        return replace(count_step(step), metrics=metrics)

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        logp_N = batch.policy_logp_N
        old_N = batch.columns.get("old_logps", logp_N.detach())
        advantage_N = batch.per_token(batch.advantage_B)

        ratio_N = (logp_N - old_N).exp()
        clipped_N = ratio_N.clamp(1 - self.clip_low, 1 + self.clip_high)
        limited_N = ratio_N if self.delta is None else ratio_N.clamp(max=self.delta)
        loss_N = -torch.minimum(limited_N * advantage_N, clipped_N * advantage_N)

        weight_N = self.mismatch.weight_N(batch, old_N) if self.mismatch else None
        if weight_N is not None:
            loss_N = loss_N * weight_N

        kl_N = k3_N(batch) if self.kl_coef > 0 else None
        if kl_N is not None:
            correction_N = ratio_N if self.kl_bias_correction else 1.0
            loss_N = loss_N + self.kl_coef * kl_N * correction_N

        value = NORMALISE[self.normalise](loss_N, batch, denominators, self.length_limit or 1)
        terms = Terms(ratio_N, advantage_N, old_N, weight_N, kl_N)
        return Loss(value, self.metrics(batch, terms))

    def with_advantages(self, tree: Tree, batch_std: float | None) -> Tree | None:
        """The group with its advantages, or None where nothing of it is left to train."""
        rewards = rewards_of(tree)
        if self.drop_equal_groups and has_no_signal(rewards):
            return None
        advantages = group_advantages(rewards, self.scale, batch_std)
        branches = tuple(
            branch.with_columns(advantage=advantage)
            for branch, advantage in zip(tree.branches, advantages, strict=True)
            if self.train_truncated or not branch.is_truncated
        )
        return replace(tree, branches=branches) if branches else None

    def metrics(self, batch: TreeBatch, terms: Terms) -> dict[str, tuple[float, float]]:
        """Entropy, clipping, divergence and how far engine and learner are apart.

        Effective sample size of the mismatch: `mismatch/ratio`^2 / `mismatch/ratio_squared`.
        """
        is_low_N = (terms.ratio_N < 1 - self.clip_low) & (terms.advantage_N < 0)
        is_high_N = (terms.ratio_N > 1 + self.clip_high) & (terms.advantage_N > 0)
        found = {
            "entropy": mean_metric(-batch.policy_logp_N),
            "clip_frac": mean_metric((is_low_N | is_high_N).float()),
        }
        if terms.kl_N is not None:
            found["kl"] = mean_metric(terms.kl_N)
        if terms.weight_N is not None:
            log_w_N = log_mismatch_N(batch, terms.old_logp_N)
            found["mismatch/log_ratio"] = mean_metric(log_w_N)
            found["mismatch/ratio"] = mean_metric(log_w_N.exp())
            found["mismatch/ratio_squared"] = mean_metric((2 * log_w_N).exp())
            found["mismatch/masked"] = mean_metric((terms.weight_N == 0).float())
        return found


def k3_N(batch: TreeBatch) -> Tensor:
    """exp(-k1) + k1 - 1 >= 0, k1 = log pi - log ref: a low-variance estimate of the divergence."""
    k1_N = (batch.policy_logp_N - batch.reference_logp_N).clamp(-EXP_LIMIT, EXP_LIMIT)
    return (-k1_N).exp() + k1_N - 1


def token_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every token of the step weighs the same."""
    return divide_by(loss_N.sum(), d.tokens)


def branch_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every branch weighs the same, however long."""
    mean_B = batch.sum_by_branch(loss_N) / batch.tokens_by_branch().clamp(min=1)
    return divide_by(mean_B.sum(), d.branches)


def fixed_length(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Token sums over a length that does not depend on the answer."""
    return divide_by(loss_N.sum(), d.branches * limit)


NORMALISE: dict[Normalise, Callable[[Tensor, TreeBatch, Denominators, int], Tensor]] = {
    "dapo": token_mean,
    "grpo": branch_mean,
    "dr_grpo": fixed_length,
}


def _share(claims: Sequence[bool]) -> tuple[float, float]:
    return float(sum(claims)), float(len(claims))
