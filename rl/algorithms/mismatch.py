"""Correction for the difference between the inference engine and the learner.

The engine that samples and the learner that trains run the same weights with different kernels, so
their log-probs of the same token differ a little. The policy gradient assumes that the tokens were
drawn from the learner's policy. Importance weights (learner over engine) correct for the
difference, and answers on which the two differ too much are left out.

Shapes: N trained tokens, B branches (completions) of the micro-batch.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rl.algorithms.base import exp_ratio
from rl.batch import TreeBatch


class Mismatch(BaseModel):
    """Importance weights w = pi_old / mu for the policy's loss, without gradient: pi_old is the
    learner's policy before the step's first update, mu the distribution under which the engine
    sampled.

    An answer whose geometric mean of w is outside `sequence_mask` gives no policy gradient; its
    tokens are still counted in the denominator. Elsewhere w of a token is at most `token_limit`.

    Two answers of one token, on which learner and engine differ by a factor of 1.005 and of 1.1:

    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-1.0, -1.0]),
    ...     branch_N=torch.tensor([0, 1]),
    ...     num_branches=2,
    ...     columns={"behavior_logps": torch.tensor([-1.005, -1.1])},
    ... )
    >>> Mismatch().weight_N(batch, batch.policy_logp_N)
    tensor([1.0050, 0.0000])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence_mask: tuple[float, float] | None = (0.99, 1.01)
    token_limit: float | None = Field(2.0, gt=0)

    def weight_N(self, batch: TreeBatch, old_logp_N: Tensor) -> Tensor:
        """What each token's policy loss is multiplied by: [N].

        old_logp_N (Tensor [N]): the learner's log-probs before the step's first update, detached.
        """
        log_w_N = log_mismatch_N(batch, old_logp_N)
        w_N = exp_ratio(log_w_N)
        if self.token_limit is not None:
            w_N = w_N.clamp(max=self.token_limit)
        if self.sequence_mask is not None:
            low, high = self.sequence_mask
            # The log of the geometric mean is the mean of the logs.
            mean_B = batch.sum_by_branch(log_w_N) / batch.tokens_by_branch().clamp(min=1)
            is_kept_B = (mean_B >= math.log(low)) & (mean_B <= math.log(high))
            w_N = w_N * batch.per_token(is_kept_B.to(w_N.dtype))
        return w_N


def log_mismatch_N(batch: TreeBatch, old_logp_N: Tensor) -> Tensor:
    """log w of each sampled token: [N]. A NaN, where the engine gave no log-prob, counts as 0."""
    return torch.nan_to_num(old_logp_N - batch.behavior_logp_N, nan=0.0)
