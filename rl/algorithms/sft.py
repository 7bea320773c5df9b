"""Supervised fine-tuning: the likelihood of the answers that the data shows."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from rl.algorithms.base import Algorithm, Denominators, Loss, Needs, divide_by
from rl.batch import TreeBatch


class SFT(Algorithm):
    """Mean negative log-likelihood of the trained tokens.

    With `dft` each token is weighed by its own, detached probability.

    Source: DFT, arXiv 2508.05629. Denominator: trained tokens of the whole step.
    """

    name: ClassVar[str] = "sft"
    default_lr: ClassVar[float] = 2e-5

    dft: bool = Field(
        False, description="Dynamic fine-tuning: times the detached probability of the token."
    )

    @property
    def needs(self) -> Needs:
        return Needs("demonstration")

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        nll_N = -batch.policy_logp_N
        if self.dft:
            nll_N = nll_N * batch.policy_logp_N.detach().exp()
        return Loss(divide_by(nll_N.sum(), denominators.tokens), self.metrics(batch))

    def metrics(self, batch: TreeBatch) -> dict[str, tuple[float, float]]:
        """A lower bound of the token accuracy: above one half a token is the likeliest."""
        logp_N = batch.policy_logp_N.detach()
        return {"accuracy/token": (float((logp_N > -math.log(2)).sum()), float(logp_N.numel()))}
