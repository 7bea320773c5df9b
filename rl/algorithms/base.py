"""What an algorithm is: it declares what it needs, prepares a whole step, and computes the loss of
one micro-batch at a time. A new algorithm is one file with one subclass of `Algorithm`.

One step runs in this order, on every rank:

1. the loop turns rows (or sampled answers) into trees and calls `arrange` on all of them;
2. each rank gets its share of the trees and calls `prepare`, which fills in what the loss will read
   (reference log-probs, advantages) and drops trees that teach nothing;
3. `denominators` counts over all ranks what the sums of the loss are divided by;
4. for each micro-batch the learner runs the model forward, `loss` computes this micro-batch's share
   of the loss, and its gradient is added up. After the last one the optimizer updates the weights.

A step makes one update, unless the recipe asks for several (`updates`). Then 2 runs once, on the
whole step; the trees that are left are split into mini-batches, and 3 and 4 run for each of them.
Whatever compares answers of the whole step belongs in `prepare`; whatever depends on the weights
of the moment, or counts what one update learns from, belongs in `denominators`.

A *tree* is one prompt (the trunk) with one or more answers to it; a *branch* is one answer, which
TRL and vLLM call a completion.

Shapes: a tensor's name ends with the letters of its dimensions, `policy_logp_N` or `advantage_B`.
N trained tokens of a micro-batch, B branches of a micro-batch, P preference pairs of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from rl.batch import TreeBatch

if TYPE_CHECKING:
    from rl.data.render import Renderer
    from rl.data.rows import Reading
    from rl.data.tree import Tree

MetricSums = Mapping[str, tuple[float, float]]  # (sum, count) by key; the mean is reported
EXP_LIMIT = 20.0  # log-ratios are clamped to +-20 before exp


@dataclass(frozen=True)
class Denominators:
    """What the sums of an update's loss are divided by: counts over all ranks and micro-batches. Of
    a mini-batch where the step makes several updates, else of the whole step.

    tokens: trained tokens.
    branches: answers.
    pairs: preference pairs.
    baseline: a number that is settled before the update's first backward (KTO's z).
    metrics: what `denominators` measured on this rank, as (sum, count); the learner adds them up
        over ranks, together with the metrics of `loss`.

    >>> Denominators(tokens=120, branches=8, pairs=4).pairs
    4
    """

    tokens: float
    branches: float
    pairs: float
    baseline: float = 0.0
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """One micro-batch's share of an update's loss.

    value (Tensor []): a differentiable scalar. The shares of all micro-batches and ranks add up to
        the loss of the update, so it is a sum divided by one of the update's `Denominators`.
    metrics: (sum, count) by key, added up over micro-batches and ranks; the mean is reported.

    >>> import torch
    >>> Loss(torch.tensor(0.25), {"accuracy/token": (3.0, 4.0)}).metrics
    {'accuracy/token': (3.0, 4.0)}
    """

    value: Tensor
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What an algorithm asks of the loop and the learner.

    reading: how a row of the data is read. `demonstration` is a prompt with the answer to imitate,
        `preference` a prompt with a chosen and a rejected answer, `labelled` a prompt with one
        answer and whether it is desirable, `group` a prompt alone, whose answers are sampled.
    online: whether the policy samples its own answers in every step.
    reference: whether the loss reads log-probs of the reference, the stage's parent weights.
    reference_each_step: whether the algorithm asks the reference about answers that no row holds.
        The rows' own reference log-probs are computed once, before the first update, while the
        policy is the reference; for other answers a frozen copy of the reference has to be kept.
    columns: names of numbers that `make_tree` gives every branch from the row (`Branch.columns`),
        beyond what the reading gives.

    >>> Needs("preference", reference=True).frozen_reference
    False
    >>> Needs("group", online=True, reference=True).frozen_reference
    True
    """

    reading: Reading
    online: bool = False
    reference: bool = False
    reference_each_step: bool = False
    columns: tuple[str, ...] = ()

    @property
    def frozen_reference(self) -> bool:
        """Whether the learner keeps a frozen copy of the reference's weights."""
        return self.reference and (self.online or self.reference_each_step)


class Step(Protocol):
    """A whole step, or one of its mini-batches, before any backward: what `prepare` may ask and
    change, and what `denominators` may ask."""

    trees: list[Tree]  # this rank's share; `prepare` may replace them or leave some out

    def logprobs(self, trees: Sequence[Tree], *, reference: bool = False) -> list[list[Tensor]]:
        """Log-probs without gradient: for each tree and branch a float32 tensor with one entry a
        trained token (trained tokens of the trunk come first, in the first branch).

        reference: log-probs under the reference, and not under the policy.

        All ranks have to call it together."""
        ...

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value added up over all ranks. All ranks have to call it together."""
        ...


class Algorithm(BaseModel):
    """The base class of every algorithm. An instance is also the algorithm's section of a recipe:
    its fields are the keys, with their types, bounds and defaults.

    A subclass has to give: `name`, `needs` and `loss`. It may give, where the default does not fit:

    default_lr: peak learning rate where the recipe sets no `lr`.
    group_size: a field, where `needs.online`: answers sampled for each prompt.
    own_metrics: metrics that only this algorithm reports, key -> one sentence, with the unit.
    implicit_beta: beta of the implicit reward, by which `heldout` pairs are measured.
    make_tree: how one record of the data becomes a tree.
    arrange: order and partners of a step's rows, before any split into ranks.
    data_warning: what to say of the data before training starts.
    prepare: what the loss needs of the whole step; the default needs nothing.
    denominators: what one update's sums are divided by; the default counts.

    A whole algorithm:

        class NLL(Algorithm):
            name: ClassVar[str] = "nll"

            @property
            def needs(self) -> Needs:
                return Needs("demonstration")

            def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
                return Loss(divide_by(-batch.policy_logp_N.sum(), denominators.tokens))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    default_lr: ClassVar[float] = 1e-6
    own_metrics: ClassVar[Mapping[str, str]] = {}

    @property
    def needs(self) -> Needs:
        """What the loop and the learner have to provide; it may depend on the fields."""
        raise NotImplementedError("the class gives no `needs`")

    @property
    def answers_per_prompt(self) -> int:
        """How many answers are sampled for each prompt, where `needs.online`: `group_size`."""
        return int(getattr(self, "group_size", 1))

    @property
    def implicit_beta(self) -> float | None:
        """Beta of the implicit reward beta log(pi / reference); None where there is none."""
        return None

    def make_tree(self, renderer: Renderer, record: Any) -> Tree:
        """A record of the data (`Sample`, `Preference` or `Labelled`) as a tree."""
        return renderer.make_tree(self.needs.reading, record)

    def arrange(self, trees: list[Tree]) -> list[Tree]:
        """The trees of a whole step, in the order in which they are split over the ranks."""
        return trees

    def data_warning(self, records: Sequence[Any]) -> str | None:
        """One sentence about data that this algorithm learns badly from, or None."""
        return None

    def prepare(self, step: Step) -> MetricSums:
        """Fills in what the loss reads, and drops trees that teach nothing. It runs once a step, on
        the whole step, before its first update.

        Returns metrics of the whole step on this rank: (sum, count) by key."""
        return {}

    def denominators(self, minibatch: Step) -> Denominators:
        """What the sums of one update's loss are divided by. It runs once an update, on the trees
        of the update's mini-batch, before its first forward pass with gradient; where a step makes
        one update, on all trees that `prepare` has left."""
        return count_trees(minibatch)

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        """The loss of one micro-batch, as its share of the update's loss."""
        raise NotImplementedError("the class gives no `loss`")


def divide_by(total: Tensor, denominator: float) -> Tensor:
    """A micro-batch's sum over a denominator of the whole update.

    total (Tensor []): the sum.
    denominator: below 1 only where the update has nothing to train; then the result is a 0 that can
        still be differentiated.

    >>> import torch
    >>> divide_by(torch.tensor(6.0), 4)
    tensor(1.5000)
    >>> divide_by(torch.zeros(0).sum(), 0)
    tensor(0.)
    """
    return total / max(denominator, 1.0)


def exp_ratio(log_ratio: Tensor) -> Tensor:
    """exp of a log-ratio of any shape, which is clamped to +-`EXP_LIMIT` before.

    exp(89) is infinite in float32, and one infinite ratio would make the whole step's gradient NaN.
    exp(20) is far outside every clip range, so nothing changes where the numbers can be trained on.

    >>> import torch
    >>> exp_ratio(torch.tensor([0.0, 500.0]))
    tensor([1.0000e+00, 4.8517e+08])
    """
    return log_ratio.clamp(-EXP_LIMIT, EXP_LIMIT).exp()


def mean_metric(value: Tensor) -> tuple[float, float]:
    """(sum, count) of a tensor of any shape, for a metric that is its mean.

    >>> import torch
    >>> mean_metric(torch.tensor([1.0, 2.0, 6.0]))
    (9.0, 3.0)
    """
    return float(value.detach().sum()), float(value.numel())


def count_trees(minibatch: Step) -> Denominators:
    """The trained tokens, branches and pairs of a mini-batch, added up over the ranks."""
    trees = minibatch.trees
    tokens, branches, pairs = minibatch.total(
        [
            sum(tree.num_trained for tree in trees),
            sum(len(tree.branches) for tree in trees),
            sum(tree.is_pair for tree in trees),
        ]
    )
    return Denominators(tokens=tokens, branches=branches, pairs=pairs)


def fill_references(step: Step) -> None:
    """Gives every branch its reference log-probs; those that are there already are kept."""
    _fill(step, "reference_logps", reference=True)


def fill_old_logps(step: Step) -> None:
    """Gives every branch the policy's log-probs before the step's first update; those that are
    there already are kept. The learner calls it, after `prepare`, where a step makes several
    updates."""
    _fill(step, "old_logps", reference=False)


def _fill(step: Step, column: str, *, reference: bool) -> None:
    """The ranks decide together whether to ask the model: under ZeRO-3 a forward pass that only
    some ranks enter waits for the others for ever.
    """
    missing = [
        index
        for index, tree in enumerate(step.trees)
        if any(branch.columns.get(column) is None for branch in tree.branches)
    ]
    if not step.total([len(missing)])[0]:
        return
    trees = list(step.trees)
    found = step.logprobs([trees[index] for index in missing], reference=reference)
    for index, logps in zip(missing, found, strict=True):
        trees[index] = trees[index].with_column(column, [tuple(v.tolist()) for v in logps])
    step.trees = trees
