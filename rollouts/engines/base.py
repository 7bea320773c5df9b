"""What an inference engine is: a section of the recipe that starts it, and the engine that runs.

A recipe chooses its engine as it chooses an algorithm:

    rollout:
      engine: {name: vllm, kv_cache_gib: 2}

`EngineConfig` is the base class of such a section: its fields are the keys, its `name` is how a
recipe finds it, and `start` gives the running `Engine`. A new engine is one file in this folder
with a subclass of `EngineConfig`, and a class that has the methods of `Engine`.

What every engine has in common (workers, lengths, dtype, threads, deadlines) is in
`rollouts.base.RolloutConfig`. One rollout worker (`rollouts.worker.RolloutWorker`) owns one engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from rl.config import Section
from rl.runtime.remedy import Remedy

if TYPE_CHECKING:
    from rl.core import Sampling
    from rl.learners.base import Channel, LearnerConfig
    from rl.runtime.actors import Handle
    from rollouts.base import GenerateRequest, GenerateResult, RolloutConfig


class Engine(Protocol):
    """A running engine with one set of weights. It samples groups of completions:

        engine.add(request, sampling)       # one prompt, a completion for each of its seeds
        while engine.num_unfinished:
            results = engine.step()         # groups whose completions are all done

    and takes new weights:

        engine.abort()                      # no request may be under way
        engine.load_weights(path)           # a file or folder, under the checkpoint's names
        engine.reset_caches()               # nothing of the old weights is left
        engine.set_version(1)               # tokens are labelled with version 1 from now on

    The log-probs that it returns are of the distribution that it samples from: without the banned
    ids, at the sampling temperature. A completion depends on its prompt, seed and weights alone,
    and not on what else is sampled at the same time (apart from the rounding of batched kernels).
    """

    @property
    def num_unfinished(self) -> int:
        """Completions under way."""
        ...

    def add(self, request: GenerateRequest, sampling: Sampling) -> None:
        """Queues every completion of a request. Raises: any error, if it rejects the prompt."""
        ...

    def step(self) -> list[GenerateResult]:
        """Computes for a while; returns the groups that are complete."""
        ...

    def abort(self) -> None:
        """Ends all unfinished requests. Their results are lost."""
        ...

    def load_weights(self, path: str) -> None:
        """Loads a safetensors file, or all of a checkpoint folder's, and whatever is computed from
        weights alone (packed copies).

        Raises: RolloutError if weights are missing that the engine started with."""
        ...

    def reset_caches(self) -> None:
        """Empties every cache of what the weights computed: prompts' keys and values, image
        features."""
        ...

    def set_version(self, version: int) -> None:
        """Sets the weight version that tokens sampled from now on are labelled with."""
        ...

    def remedy(self, name: str) -> None:
        """Repairs one thing, for the parity gate's diagnosis: one of `EngineConfig.remedies`."""
        ...

    def is_dead(self, error: BaseException) -> bool:
        """Whether after this error the engine can never serve again, so that its process ends."""
        ...


class ReceivingEngine(Engine, Protocol):
    """An engine that also takes weights from GPU to GPU: `start_update`, `receive` several times,
    `finish_update`, then `reset_caches`. Needed by a `transport` other than `file`."""

    def open_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Opens this engine's end of a channel to the learner, after closing an earlier one."""
        ...

    def start_update(self) -> None:
        """Prepares the model for new weights."""
        ...

    def receive(self, update_info: Mapping[str, Any]) -> None:
        """Receives one chunk of the weights that the learner sends."""
        ...

    def finish_update(self) -> None:
        """The model computes with the received weights from now on. Raises: RolloutError if weights
        are missing."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineStart:
    """What an engine is started with.

    model_path: the model folder.
    rollout: lengths, dtype and threads.
    max_pixels: the image limit that learner and engine share; None: the processor's own.
    banned_ids: token ids that are never sampled (image placeholders and the like).
    is_multimodal: whether prompts may have images.
    """

    model_path: str
    rollout: RolloutConfig
    max_pixels: int | None
    banned_ids: Sequence[int]
    is_multimodal: bool


@dataclass(frozen=True)
class EngineFault:
    """A key that does not fit the rest of the recipe: `key` as `rollout.engine.transport`, what is
    wrong, and what to do."""

    key: str
    what: str
    do: str


class EngineConfig(Section, ABC):
    """The base class of every engine's section. A whole engine, less its `Mine` (see `Engine`):

        class MyEngine(EngineConfig):
            name: ClassVar[str] = "mine"
            cache_gib: float = Field(1.0, gt=0, description="Memory of its cache.")

            def start(self, start: EngineStart) -> Engine:
                return Mine(start, self.cache_gib)

            @property
            def identity(self) -> str:
                return f"mine {version('mine')}"

            def memory(self, weights: float, gpu_gib: float | None) -> dict[str, float]:
                return {"weights": weights, "KV cache": self.cache_gib * 2**30}

    A subclass has to give `name`, `start`, `identity` and `memory`. It may give:

    - `remedies`: what the parity gate tries to name the cause of a difference.
    - `transport`, `num_gpus`, `shares_gpu`, `fault`, `open_channel`: an engine on GPUs.
    - `environment`: variables of its actor's process.
    """

    name: ClassVar[str]
    remedies: ClassVar[tuple[Remedy, ...]] = ()

    @abstractmethod
    def start(self, start: EngineStart) -> Engine:
        """The running engine, in this process. Raises: RolloutError if it does not start."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Package and version, which every result of an evaluation states."""

    @abstractmethod
    def memory(self, weights: float, gpu_gib: float | None) -> dict[str, float]:
        """Bytes of one engine by owner, with `KV cache` among them, for `plumbline plan`.

        weights: bytes of the whole model's weights. gpu_gib: memory of one GPU in GiB; None: the
        engine runs on a CPU.
        """

    @property
    def way_in(self) -> Literal["file", "ipc", "nccl"]:
        """How published weights reach the engine: through a file, or from GPU to GPU."""
        return "file"

    @property
    def num_gpus(self) -> int:
        """GPUs that one engine is split over."""
        return 1

    def gpu_share(self, gpu_gib: float) -> float:
        """GiB that one engine takes of each of its GPUs."""
        return gpu_gib

    def fault(self, learner: LearnerConfig, rollout: RolloutConfig) -> EngineFault | None:
        """What of this section does not fit the recipe's learner and workers; None where all of it
        does."""
        return None

    def environment(self, threads: int) -> dict[str, str]:
        """Environment variables of the process that the engine runs in."""
        return {"OMP_NUM_THREADS": str(threads)}

    def open_channel(
        self,
        workers: Sequence[Handle],
        deadline_s: float,
        find_address: Callable[[], tuple[str, int]],
    ) -> Channel:
        """A channel for weights from GPU to GPU. `find_address` gives host and port of a meeting
        place on the learner's machine. Only asked for where `way_in` is not `file`."""
        raise NotImplementedError(f"{self.name} takes weights through a file alone")
