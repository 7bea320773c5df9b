"""What a learner offers the driver, and the settings that it is given, whatever engine runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, model_validator

from rl.algorithms.base import Algorithm
from rl.config import Section
from rl.data.tree import Tree
from rl.learners.updates import ONE_UPDATE, Part, Prepared, Updates
from rl.models.spec import Dtype

if TYPE_CHECKING:
    from rl.learners.weights import Weights


class LearnerConfig(Section):
    """A recipe's `learner` section: ranks, how the optimizer is partitioned, how trees are packed.

    With a `dtype` below float32 the weights and gradients have that dtype, and AdamW keeps float32
    master weights. `unverified` on a GPU: `offload` and float16, because no GPU has run them here.
    A CPU that does not compute float16 refuses it.

    >>> LearnerConfig(ranks=2, zero=3).tokens_per_microbatch
    4096
    """

    ranks: int = Field(1, ge=1, description="Learner processes, one DeepSpeed engine each.")
    zero: Literal[0, 1, 2, 3] = Field(1, description="DeepSpeed's ZeRO stage.")
    offload: bool = Field(
        False, description="AdamW's state and step in CPU memory; from ZeRO 1 on."
    )
    tokens_per_microbatch: int = Field(
        4096, ge=1, description="Padded tokens of one forward and backward pass."
    )
    row_tokens: int = Field(
        128, ge=1, description="Length up to which trees share a row; a longer tree has its own."
    )
    layout: Literal["auto", "tree", "rows"] = Field(
        "auto", description="auto: tree where the family allows it. rows: one answer a row."
    )
    dtype: Dtype = Field("float32", description="Of the weights; float16 from ZeRO 1 on.")
    loss_scale: float = Field(
        0.0, ge=0, description="float16: factor of the loss before backward. 0: dynamic."
    )
    threads: int = Field(2, ge=1, description="CPU threads of each rank.")
    cpus: float | None = Field(None, ge=0, description="Cores of a rank; by default shared out.")
    gpus: float = Field(0.0, ge=0, description="GPUs of a rank.")
    deadline_s: float = Field(1800.0, gt=0, description="Longest wait for one call.")
    max_restarts: int = Field(3, ge=0, description="How often a stage restarts a lost learner.")

    @model_validator(mode="after")
    def _engine_can(self) -> LearnerConfig:
        if self.offload and self.zero == 0:
            raise ValueError("offload: true needs zero: 1, 2 or 3; 0 partitions no optimizer")
        if self.dtype == "float16" and self.zero == 0:
            raise ValueError(
                "dtype: float16 needs zero: 1, 2 or 3; at 0 DeepSpeed leaves the loss unscaled"
            )
        if self.loss_scale and self.dtype != "float16":
            raise ValueError(f"loss_scale has no meaning for dtype: {self.dtype}")
        return self


@dataclass(frozen=True, kw_only=True)
class OptimPlan:
    """AdamW and the schedule of its learning rate for one stage.

    The rate rises linearly to `lr` in the first `warmup_steps` updates and then follows `schedule`
    (linear, cosine or constant) to `lr * min_lr_ratio` at update `total_steps`. Gradients are
    clipped to a global norm of `max_grad_norm`; 0 clips nothing. `total_steps` and `warmup_steps`
    count updates: a step of the stage that makes several counts as several.

    >>> OptimPlan(lr=1e-5, total_steps=200, warmup_steps=10).schedule
    'cosine'
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    schedule: str = "cosine"
    min_lr_ratio: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SamplingDistribution:
    """The distribution that log-probs are of: softmax(logits / temperature) without the banned ids.

    It is the one that the engine samples from, so that the learner's log-probs of a sampled token
    can be compared with the engine's. Offline algorithms use the default, the plain softmax.

        distribution = SamplingDistribution(temperature=0.7, banned_ids=(151655,))  # image token
        group.logprobs(trees, distribution)            # of the tokens, as the engine sampled them
        group.logprobs(trees, SamplingDistribution())  # as SFT, DPO and KTO train them
    """

    temperature: float = 1.0
    banned_ids: tuple[int, ...] = ()


class Sender(Protocol):
    """One rank's end of an open channel to the rollout workers."""

    def send_weights(self) -> None:
        """Sends all weights and waits until the workers have them. Every rank is called."""
        ...

    def shutdown(self) -> None:
        """Closes this end."""
        ...


class Channel(Protocol):
    """How weights go from GPU to GPU. The driver makes one; it is pickled to every rank and opened
    there, so that `rl` imports no inference engine.
    """

    def open(self, weights: Weights, rank: int) -> Sender:
        """This rank's sender of these weights."""
        ...


class Learner(Protocol):
    """One policy and its optimizer. A GRPO stage calls it in this order:

        learner.begin_stage("runs/a/stages/sft/latest", plan, needs_reference=True)
        for ...:
            metrics = learner.step(trees, algorithm, distribution)  # prepare, then update
            learner.publish("/dev/shm/weights")                     # the engines load this file
        learner.save("runs/a/stages/grpo/checkpoints/step-100")     # model files
        learner.save_state("runs/a/.../state")                      # for --resume

    Every call waits until all ranks have done it. `rl.learners.zero.ZeroLearner` is one rank of a
    learner, and all ranks get the same calls, each with trees of its own;
    `rl.learners.group.LearnerGroup` is all ranks together, and deals the trees out.
    """

    def begin_stage(self, checkpoint: str, plan: OptimPlan, *, needs_reference: bool) -> None:
        """Loads the weights of a checkpoint folder, and resets the optimizer and its schedule.

        `needs_reference`: keeps a frozen copy of these weights for `logprobs(reference=True)`.
        Raises: ModelError if the checkpoint is of another architecture.
        """
        ...

    def step(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        updates: Updates = ONE_UPDATE,
        seed: str = "",
    ) -> Mapping[str, float]:
        """One step: `prepare`, then `update` for each mini-batch of `updates`.

        seed: of the mini-batches; it names the run's seed and the step.

        Returns the step's metrics: loss, grad_norm, lr, tokens/trained, tokens/forward,
        tokens/padded (counts), time/reference_s, time/update_s (seconds), and the algorithm's own.
        """
        ...

    def prepare(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        needs_old_logps: bool = False,
    ) -> Prepared:
        """Lets the algorithm fill in what the loss reads, on the whole step before its first
        update.

        needs_old_logps: also gives every branch that is left the policy's log-probs, which are
            those under the weights that sampled it; for a step of several updates.

        Returns what names the prepared step. The trees stay with the ranks until the next call.
        """
        ...

    def update(self, prepared: Prepared, part: Part) -> Mapping[str, float]:
        """One optimizer step over some of the prepared groups. Returns metrics as `step` does.

        Raises: ModelError if another step was prepared since.
        """
        ...

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        """Log-probs without gradient: by tree and branch, one for each trained token [tokens].

        A branch is one completion. `reference`: those of the model as the stage began. Raises:
        ModelError if no reference is kept.
        """
        ...

    def publish(self, path: str) -> None:
        """Writes all weights to one safetensors file, under the checkpoint file's names, whole or
        not at all. Rank 0 writes.
        """
        ...

    def save(self, folder: str) -> None:
        """Writes the model's files as `save_pretrained` does: weights, config, generation config.
        Rank 0 writes.
        """
        ...

    def save_state(self, folder: str) -> None:
        """Writes what a resumed stage needs to continue with the same bits: every rank's part of
        weights and optimizer, the number of updates, and the random states.
        """
        ...

    def load_state(self, folder: str) -> None:
        """Loads a saved state, after `begin_stage` with the plan that it was saved under.

        Raises: ModelError if the state is of other learner settings or of another model.
        """
        ...
