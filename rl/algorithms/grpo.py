"""Group-relative policy optimization: each answer against the others of its own prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from rl.algorithms.base import (
    Denominators,
    Loss,
    Needs,
    Step,
    TreeBatch,
    count,
    fill_references,
    given,
    mean_metric,
    per,
)
from rl.data.tree import Tree

STD_FLOOR = 1e-4  # added to the standard deviation, as TRL does
EQUAL_REWARDS = 1e-8  # rewards closer than this are rounding
EXP_LIMIT = 20.0  # log-ratios are clamped to +-20 before exp in the KL term
Normalise = Literal["dapo", "grpo", "dr_grpo"]


class Mismatch(BaseModel):
    """How the engine's log-probs are corrected for: w = pi_old / mu, detached.

    A branch whose geometric mean of w leaves `sequence_mask` gives no policy gradient; its tokens
    stay in the denominator. w of a token is cut at `token_limit`. NaN counts as w = 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence_mask: tuple[float, float] | None = (0.99, 1.01)
    token_limit: float | None = Field(2.0, gt=0)

    def weight_N(self, batch: TreeBatch, old_logp_N: Tensor) -> Tensor:
        """What each token's policy term is multiplied by."""
        log_w_N = log_mismatch_N(batch, old_logp_N)
        w_N = log_w_N.exp()
        if self.token_limit is not None:
            w_N = w_N.clamp(max=self.token_limit)
        if self.sequence_mask is not None:
            low, high = self.sequence_mask
            mean_B = batch.sum_by_branch(log_w_N) / batch.tokens_by_branch().clamp(min=1)
            is_kept_B = (mean_B >= math.log(low)) & (mean_B <= math.log(high))
            w_N = w_N * batch.per_token(is_kept_B.to(w_N.dtype))
        return w_N


def log_mismatch_N(batch: TreeBatch, old_logp_N: Tensor) -> Tensor:
    """log w, learner over engine, on the sampled tokens."""
    behavior_N = given(batch.behavior_logp_N, "behavior_logp_N")
    return torch.nan_to_num(old_logp_N - behavior_N, nan=0.0)


@dataclass(frozen=True)
class Terms:
    """What the loss of a micro-batch is made of, kept for the metrics."""

    ratio_N: Tensor
    advantage_N: Tensor
    old_logp_N: Tensor
    weight_N: Tensor | None
    kl_N: Tensor | None


class GRPO(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")
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
        return Needs(
            tree="group",
            online=True,
            reference=self.kl_coef > 0,
            behavior=self.mismatch is not None,
        )

    def prepare(self, step: Step) -> Denominators:
        branches = [branch for tree in step.trees for branch in tree.branches]
        metrics = {
            "frac_zero_std": _share([is_equal(_rewards(tree)) for tree in step.trees]),
            "frac_truncated": _share([branch.is_truncated for branch in branches]),
            "frac_unscored": _share([branch.reward is None for branch in branches]),
        }
        batch_std = std_over_step(step) if self.scale == "batch" else None
        groups = [self.with_advantages(tree, batch_std) for tree in step.trees]
        step.trees = [tree for tree in groups if tree is not None]
        if self.kl_coef > 0:
            fill_references(step)
        return replace(count(step), metrics=metrics)

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        logp_N = batch.policy_logp_N
        old_N = logp_N.detach() if batch.old_logp_N is None else batch.old_logp_N
        advantage_N = batch.per_token(given(batch.advantage_B, "advantage_B"))

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
        rewards = _rewards(tree)
        if self.drop_equal_groups and is_equal(rewards):
            return None
        advantages = group_advantages(rewards, self.scale, batch_std)
        branches = tuple(
            replace(branch, advantage=advantage)
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
    reference_N = given(batch.reference_logp_N, "reference_logp_N")
    k1_N = (batch.policy_logp_N - reference_N).clamp(-EXP_LIMIT, EXP_LIMIT)
    return (-k1_N).exp() + k1_N - 1


def token_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every token of the step weighs the same."""
    return per(loss_N.sum(), d.tokens)


def branch_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every branch weighs the same, however long."""
    mean_B = batch.sum_by_branch(loss_N) / batch.tokens_by_branch().clamp(min=1)
    return per(mean_B.sum(), d.branches)


def fixed_length(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Token sums over a length that does not depend on the answer."""
    return per(loss_N.sum(), d.branches * limit)


NORMALISE: dict[Normalise, Callable[[Tensor, TreeBatch, Denominators, int], Tensor]] = {
    "dapo": token_mean,
    "grpo": branch_mean,
    "dr_grpo": fixed_length,
}


def group_advantages(
    rewards: Sequence[float | None], scale: str, batch_std: float | None = None
) -> list[float]:
    """A of each answer of a group: r - mean, over std + 1e-4 where scaled; unscored answers get 0.

    >>> group_advantages([1.0, 0.0, None], "none")
    [0.5, -0.5, 0.0]
    """
    if is_equal(rewards):
        return [0.0] * len(rewards)
    scored = [reward for reward in rewards if reward is not None]
    mean = math.fsum(scored) / len(scored)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in scored) / (len(scored) - 1))
    divisor = {"group": std + STD_FLOOR, "batch": (batch_std or 0.0) + STD_FLOOR, "none": 1.0}
    return [0.0 if r is None else (r - mean) / divisor[scale] for r in rewards]


def is_equal(rewards: Sequence[float | None]) -> bool:
    """Whether a group teaches nothing: fewer than two scored answers, or all scored alike."""
    scored = [reward for reward in rewards if reward is not None]
    return not scored or max(scored) - min(scored) <= EQUAL_REWARDS


def std_over_step(step: Step) -> float:
    """The unbiased standard deviation of every scored reward of the step, over all ranks."""
    scored = [r for tree in step.trees for r in _rewards(tree) if r is not None]
    num, total = step.total([len(scored), math.fsum(scored)])
    (squares,) = step.total([math.fsum((r - total / max(num, 1)) ** 2 for r in scored)])
    return math.sqrt(squares / (num - 1)) if num > 1 else 0.0


def _rewards(tree: Tree) -> list[float | None]:
    return [branch.reward for branch in tree.branches]


def _share(claims: Sequence[bool]) -> tuple[float, float]:
    return float(sum(claims)), float(len(claims))
