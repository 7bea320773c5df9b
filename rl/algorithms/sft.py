"""Supervised fine-tuning (SFT): the model learns to give the answers that the data shows.

Every row holds a prompt and an answer to imitate. The loss is the mean negative log-likelihood of
the answers' tokens, so the gradient makes each of these tokens likelier after the ones before it.
Tokens of the prompt carry no loss, except earlier assistant turns.

Shapes: N trained tokens of the micro-batch.
"""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from rl.algorithms.base import Algorithm, Denominators, Loss, Needs, divide_by
from rl.batch import TreeBatch


class SFT(Algorithm):
    """Mean negative log-likelihood of the trained tokens:

        loss = - sum over tokens of log pi(token) / trained tokens of the step

    With `dft` each token's term is multiplied by the token's own probability, detached: tokens that
    the model finds very unlikely then pull less.

    Source of `dft`: arXiv 2508.05629.
    Denominator: trained tokens of the whole step.

    Two tokens with log-probs -1 and -2, which are all the tokens of the step:

    >>> import torch
    >>> batch = TreeBatch(
    ...     policy_logp_N=torch.tensor([-1.0, -2.0]), branch_N=torch.tensor([0, 0]), num_branches=1
    ... )
    >>> SFT().loss(batch, Denominators(tokens=2, branches=1, pairs=0)).value
    tensor(1.5000)
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
        """Share of tokens with a probability above one half: these are certainly the likeliest, so
        it is a lower bound of the token accuracy and needs no pass over the vocabulary."""
        logp_N = batch.policy_logp_N.detach()
        return {"accuracy/token": (float((logp_N > -math.log(2)).sum()), float(logp_N.numel()))}
