"""Group-relative policy optimization (GRPO): the model learns from its own scored answers.

For every prompt the current policy samples a group of answers, and rewards score them. The mean
reward of the group is the baseline: an answer's advantage is how far its reward is above the mean
of its own group, so no value model is needed. The loss makes the tokens of better answers likelier
and those of worse answers less likely. A clip takes the gradient away where earlier updates of the
step have moved a token's probability too far.

Shapes: N trained tokens, B branches (completions) of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rl.algorithms.advantages import Scale, group_advantages, rewards_of, std_over_step
from rl.algorithms.base import (
    EXP_LIMIT,
    Algorithm,
    Denominators,
    Loss,
    MetricSums,
    Needs,
    Step,
    divide_by,
    exp_ratio,
    fill_references,
    mean_metric,
)
from rl.algorithms.mismatch import Mismatch, log_mismatch_N
from rl.batch import TreeBatch
from rl.data.tree import Tree

Normalise = Literal["dapo", "grpo", "dr_grpo"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Parts of a micro-batch's loss that the metrics report, each [N]."""

    ratio_N: Tensor
    advantage_N: Tensor
    old_logp_N: Tensor
    weight_N: Tensor | None
    kl_N: Tensor | None


class GRPO(Algorithm):
    """The clipped policy gradient with advantages within the group. For each trained token:

        A     = (reward - mean of the group) / (std of the group + 1e-4), the same for all tokens
        ratio = pi / pi_old
        loss  = -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A) w + kl_coef k3

    pi_old is the policy that sampled. Where a step makes one update it is the policy itself,
    detached: the ratio is then 1, only its gradient matters, and `clip_low`, `clip_high` and
    `delta` act nowhere. Where a step makes several (`updates` of the stage) it is kept as the
    column `old_logps`, and the clip holds every update near it. w corrects for the difference
    between inference engine and learner (`Mismatch`). k3 estimates the divergence from the
    reference.

    Source: arXiv 2402.03300 eq. 3 and 4; clip-higher and token mean: arXiv 2503.14476;
    `dr_grpo`: arXiv 2503.20783; KL times ratio: arXiv 2512.02556; `delta`: arXiv 2505.07291.
    Denominator (`normalise`): `dapo` trained tokens; `grpo` branches, after the mean over each
    branch's tokens; `dr_grpo` branches times `length_limit` (use it with `scale: none`). All are of
    the whole update, and count neither groups that were dropped nor truncated answers that were
    left out; the rewards of the latter stay in their group's mean. `scale: batch` is the standard
    deviation of the whole step, whatever its number of updates.
    Departs: from TRL 1.16, which trains on truncated answers, keeps groups of equal rewards, has
    one clip of 0.2 for both sides, and masks by the product of w, not by its geometric mean. Where
    a step makes several updates, TRL's mini-batches are split between single answers and the same
    in every pass, ours between groups and new in every pass; and TRL's `dapo` divides by the
    tokens of all mini-batches over their number, which is ours where all have equally many.

    Two answers of one token, the first better; without `old_logps` the ratio is 1:

    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-1.0, -2.0]),
    ...     branch_N=torch.tensor([0, 1]),
    ...     num_branches=2,
    ...     columns={"advantage": torch.tensor([2.0, -1.0])},
    ... )
    >>> GRPO(mismatch=None).loss(batch, Denominators(tokens=2, branches=2, pairs=0)).value
    tensor(-0.5000)
    """

    name: ClassVar[str] = "grpo"

    group_size: int = Field(8, ge=1, description="Answers sampled for each prompt.")
    scale: Scale = Field("group", description="Whose standard deviation divides the advantages.")
    clip_low: float = Field(
        0.2, ge=0, lt=1, description="The ratio counts down to 1 - clip_low where A < 0."
    )
    clip_high: float = Field(
        0.28, ge=0, description="The ratio counts up to 1 + clip_high where A > 0."
    )
    delta: float | None = Field(None, gt=1, description="Upper limit of the ratio where A < 0.")
    kl_coef: float = Field(0.0, ge=0, description="Weight of the divergence from the reference.")
    kl_bias_correction: bool = Field(True, description="k3 times the ratio: an unbiased gradient.")
    normalise: Normalise = Field(
        "dapo",
        description="What sums are divided by: tokens of the step (`dapo`), each answer's length, "
        "then answers (`grpo`), answers times `length_limit` (`dr_grpo`).",
    )
    length_limit: int | None = Field(None, ge=1, description="Tokens; `dr_grpo` divides by it.")
    drop_equal_groups: bool = Field(True, description="Groups without a difference leave the step.")
    train_truncated: bool = Field(False, description="Answers ended by the length limit are kept.")
    mismatch: Mismatch | None = Field(Mismatch(), description="null: the engine is trusted.")

    @model_validator(mode="after")
    def _limits_fit(self) -> GRPO:
        if (self.normalise == "dr_grpo") != (self.length_limit is not None):
            raise ValueError("length_limit belongs to normalise: dr_grpo, and it needs one")
        if self.delta is not None and self.delta <= 1 + self.clip_high:
            raise ValueError(f"delta {self.delta} must be above 1 + clip_high {self.clip_high}")
        return self

    @property
    def needs(self) -> Needs:
        return Needs("group", online=True, reference=self.kl_coef > 0)

    def prepare(self, step: Step) -> MetricSums:
        batch_std = std_over_step(step) if self.scale == "batch" else None
        groups = [self.with_advantages(tree, batch_std) for tree in step.trees]
        step.trees = [tree for tree in groups if tree is not None]
        if self.kl_coef > 0:
            fill_references(step)
        return {}

    def with_advantages(self, tree: Tree, batch_std: float | None) -> Tree | None:
        """The group with an advantage for every answer, or None where nothing is left to train.
        Advantages that every answer has already are kept as they are.

        batch_std: the standard deviation of the step's rewards, for `scale: batch`.
        """
        given = [branch.advantage for branch in tree.branches]
        if None in given:
            tree = tree.with_column(
                "advantage", group_advantages(rewards_of(tree), self.scale, batch_std)
            )
        if self.drop_equal_groups and not any(branch.advantage for branch in tree.branches):
            return None
        kept = tuple(b for b in tree.branches if self.train_truncated or not b.is_truncated)
        return replace(tree, branches=kept) if kept else None

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        logp_N = batch.policy_logp_N
        old_N = batch.columns.get("old_logps", logp_N.detach())
        advantage_N = batch.per_token(batch.advantage_B)

        ratio_N = exp_ratio(logp_N - old_N)
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
        terms = Terms(
            ratio_N=ratio_N,
            advantage_N=advantage_N,
            old_logp_N=old_N,
            weight_N=weight_N,
            kl_N=kl_N,
        )
        return Loss(value, self.metrics(batch, terms))

    def metrics(self, batch: TreeBatch, terms: Terms) -> dict[str, tuple[float, float]]:
        """Entropy, clipping, divergence, and how far engine and learner are apart.

        The effective sample size of the mismatch weights is the square of `mismatch/ratio` over
        `mismatch/ratio_squared`.
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
    """exp(-k1) + k1 - 1 with k1 = log pi - log reference, clamped to +-20: [N]. It is never
    negative, has the divergence as its mean, and varies less than k1 does."""
    k1_N = (batch.policy_logp_N - batch.reference_logp_N).clamp(-EXP_LIMIT, EXP_LIMIT)
    return (-k1_N).exp() + k1_N - 1


# -- what the sum of the tokens' losses is divided by, by `normalise`


def token_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every token of the step has the same weight."""
    return divide_by(loss_N.sum(), d.tokens)


def branch_mean(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Every answer has the same weight, however long it is."""
    mean_B = batch.sum_by_branch(loss_N) / batch.tokens_by_branch().clamp(min=1)
    return divide_by(mean_B.sum(), d.branches)


def fixed_length(loss_N: Tensor, batch: TreeBatch, d: Denominators, limit: int) -> Tensor:
    """Sums over tokens, divided by a length that does not depend on the answer."""
    return divide_by(loss_N.sum(), d.branches * limit)


NORMALISE: dict[Normalise, Callable[[Tensor, TreeBatch, Denominators, int], Tensor]] = {
    "dapo": token_mean,
    "grpo": branch_mean,
    "dr_grpo": fixed_length,
}
