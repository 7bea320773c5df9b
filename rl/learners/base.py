"""What a learner offers the driver, whatever engine runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, model_validator

from rl.algorithms.base import Algorithm
from rl.config import Section
from rl.data.tree import Tree
from rl.models.spec import Dtype

if TYPE_CHECKING:
    from rl.learners.weights import Weights


class LearnerConfig(Section):
    """The learner's ranks, how its optimizer is partitioned, and how rows are packed.

    Below float32 weights and gradients have `dtype`, AdamW keeps float32 master weights. On a GPU
    `offload` and float16 are `unverified`; a CPU that does not compute float16 refuses it.
    """

    ranks: int = Field(1, ge=1, description="Processes, one engine each.")
    zero: Literal[0, 1, 2, 3] = Field(1, description="DeepSpeed's ZeRO stage.")
    offload: bool = Field(
        False, description="AdamW's state and step in CPU memory; from ZeRO 1 on."
    )
    tokens_per_microbatch: int = Field(
        4096, ge=1, description="Padded tokens of one forward and backward pass."
    )
    row_tokens: int = Field(
        256, ge=1, description="Length up to which trees share a row; a longer one has its own."
    )
    layout: Literal["auto", "tree", "rows"] = Field(
        "auto", description="auto: tree where the family allows it. rows: one answer a row."
    )
    dtype: Dtype = Field("float32", description="Of the weights; float16 from ZeRO 1 on.")
    loss_scale: float = Field(
        0.0, ge=0, description="float16: factor of the loss before backward. 0: found as it goes."
    )
    threads: int = Field(2, ge=1, description="CPU threads of each rank.")
    cpus: float | None = Field(None, ge=0, description="Cores of a rank; by default shared out.")
    gpus: float = Field(0.0, ge=0, description="GPUs of a rank.")
    deadline_s: float = Field(1800.0, gt=0, description="Longest wait for one call.")
    max_restarts: int = Field(3, ge=0, description="How often a stage starts a lost learner anew.")

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
    """AdamW and its schedule for one stage. `schedule`: linear | cosine | constant, after
    `warmup_steps` of linear warm-up.

    `min_lr_ratio` is the rate at the last step over the peak rate.
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
    """Which distribution log-probs are of: logits / temperature, banned ids masked out. (1.0,
    ()) for offline algorithms."""

    temperature: float = 1.0
    banned_ids: tuple[int, ...] = ()


class Sender(Protocol):
    """One rank's end of an open channel to the rollout workers."""

    def send_weights(self) -> None: ...

    def shutdown(self) -> None: ...


class Channel(Protocol):
    """How weights go from GPU to GPU. It is pickled to every rank and opened there."""

    def open(self, weights: Weights, rank: int) -> Sender: ...


class Learner(Protocol):
    """One optimizer, one policy. All ranks of a group get the same calls with their own trees."""

    def begin_stage(self, checkpoint: str, plan: OptimPlan, *, needs_reference: bool) -> None:
        """Loads weights from a checkpoint folder, resets the optimizer; keeps a frozen copy as
        reference if asked."""
        ...

    def step(
        self, trees: Sequence[Tree], algorithm: Algorithm, distribution: SamplingDistribution
    ) -> Mapping[str, float]:
        """One optimizer step over all trees. Returns metrics (loss, grad_norm, lr, tokens/...,
        time/..., the algorithm's)."""
        ...

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        """Per tree, per branch: the log-probs of its trained tokens, without gradient."""
        ...

    def publish(self, path: str) -> None:
        """Writes the weights under the checkpoint file's names to one safetensors file (rank 0)."""
        ...

    def save(self, folder: str) -> None:
        """Writes model files (safetensors, config, generation config) as `from_pretrained`
        opens them (rank 0)."""
        ...

    def save_state(self, folder: str) -> None:
        """Writes what a stage goes on from bit for bit: every rank's optimizer, counters and
        random states."""
        ...

    def load_state(self, folder: str) -> None:
        """Takes a saved state up again, after `begin_stage` with the same plan."""
        ...
