"""The engine that sampled is not exactly the policy that learns: what corrects for it."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rl.batch import TreeBatch


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
    return torch.nan_to_num(old_logp_N - batch.behavior_logp_N, nan=0.0)
