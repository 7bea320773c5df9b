"""The two ends of a weight transfer, through vLLM's weight-transfer API.

`rl.runtime.publish` tells the whole path of weights to an engine; this file has its last step.
`file` (a safetensors file in shared memory or on a shared file system) is the default and the
reference. `ipc` and `nccl` are vLLM's own backends from GPU to GPU, and `unverified`: no machine
has run them here.

Importing this module registers the backends with vLLM. Every process in which vLLM runs a worker
imports it, for `WorkerExtension`, before it makes its transfer engine, so no packaging entry point
is needed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerWeightTransferEngine,
    WeightSource,
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import (
    WeightTransferEngineFactory,
    WeightTransferTrainerFactory,
)
from vllm.distributed.weight_transfer.ipc_engine import (
    IPCTrainerInitInfo,
    IPCWeightTransferEngine,
)
from vllm.distributed.weight_transfer.nccl_engine import (
    NCCLTrainerInitInfo,
    NCCLWeightTransferEngine,
)
from vllm.distributed.weight_transfer.packed_tensor import DEFAULT_PACKED_BUFFER_SIZE_BYTES
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
from vllm.model_executor.model_loader.reload.meta import materialize_layer, restore_layer_on_meta

from rl.learners.weights import Weights
from rl.models.load import weight_files
from rl.runtime.actors import Handle

Transport = Literal["file", "ipc", "nccl"]


@dataclass
class FileInit(WeightTransferInitInfo):
    """What engine and learner agree on before a transfer: nothing, for a file."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """One file of weights, under the checkpoint's names."""

    path: str = ""


class FileTransfer(WeightTransferEngine[FileInit, FileUpdate]):
    """The engine's end of the `file` transport: loads a safetensors file into the running model,
    on a CPU all layers of a small model at once, else layer by layer. vLLM calls
    `start_weight_update`, `update_weights`, `finish_weight_update`.
    """

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    _at_once = False  # whether the update under way loads the model in one pass

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """No connection to open."""

    def start_weight_update(self) -> None:
        # On CPU vLLM packs linear layers after loading and empties their parameters, so a plain
        # load would find nothing to load into.
        self._at_once = can_load_at_once(self.model)
        if not self._at_once:
            initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: FileUpdate) -> None:
        if self._at_once:
            load_at_once(self.model, _weights_of(update_info.path))
        else:
            self.model.load_weights(_weights_of(update_info.path))

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class synchronises an accelerator, which raises on a CPU.
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def finish_weight_update(self) -> None:
        if not self._at_once:
            finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held."""


class IpcTransfer(IPCWeightTransferEngine):
    """The engine's end of vLLM's `ipc`, which also loads a file: a worker that is restarted between
    two publishes has missed what was sent. `unverified`.
    """

    def update_weights(self, update_info: dict[str, Any]) -> None:
        if "path" in update_info:
            self.model.load_weights(_weights_of(update_info["path"]))
        else:
            super().update_weights(update_info)


class NcclTransfer(NCCLWeightTransferEngine):
    """The engine's end of vLLM's `nccl`, which also loads a file, for the same reason.
    `unverified`."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        if "path" in update_info:
            self.model.load_weights(_weights_of(update_info["path"]))
        else:
            super().update_weights(update_info)


def _weights_of(path: str) -> Iterator[tuple[str, Tensor]]:
    """The weights of a published file, or of every file of a checkpoint folder."""
    for part in weight_files(Path(path)):
        with safe_open(part, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                yield name, file.get_tensor(name)


# -- a small model on a CPU
#
# vLLM's own reload works layer by layer: it counts the elements that arrive, which runs every
# weight loader twice, and packs a layer when its last weight has come. So it never holds a second
# copy of the model. Where a model is small the bookkeeping is most of a publish; here all layers
# are unpacked, loaded and packed again, as when the engine starts.

# A model's linear layers are held twice during the load: packed and as they come. Above this size
# of theirs vLLM's way is taken, which holds one layer twice.
LIMIT = 2**30  # bytes
# The layers whose packing is known. Others (experts, quantised layers) may keep more than a weight.
_KNOWN = (UnquantizedLinearMethod, UnquantizedEmbeddingMethod)


def can_load_at_once(model: Any) -> bool:
    """Whether `load_at_once` is valid for this model: it is on a CPU, is not larger than `LIMIT`,
    and no layer of it packs weights in a way of its own.
    """
    methods = {type(method) for layer in model.modules() if (method := _method(layer))}
    # Latent attention derives matrices from its weights after they are loaded.
    is_latent = any("MLA" in type(layer).__name__ for layer in model.modules())
    if is_latent or not methods <= set(_KNOWN):
        return False
    weights = [
        weight
        for layer in _linear_layers(model)
        for weight in get_layerwise_info(layer).restore_metadata[0].values()
    ]
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return is_on_cpu and sum(weight.nbytes for weight in weights) <= LIMIT


@torch.no_grad()
def load_at_once(model: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Loads weights under the checkpoint's names. A tied head has to be packed again afterwards
    (`WorkerExtension.repack_tied_head`), as after vLLM's own reload.
    """
    layers = _linear_layers(model)
    for layer in layers:
        # Packing emptied `weight`; vLLM kept its shape and its loader from when it was made.
        info = get_layerwise_info(layer)
        restore_layer_on_meta(layer, info)
        materialize_layer(layer, info)
    model.load_weights(weights)
    for layer in layers:
        layer.quant_method.process_weights_after_loading(layer)


def _method(layer: Any) -> QuantizeMethodBase | None:
    """How a layer's weights are packed and multiplied; None for a layer that packs nothing."""
    method = getattr(layer, "quant_method", None)
    return method if isinstance(method, QuantizeMethodBase) else None


def _linear_layers(model: Any) -> list[Any]:
    return [m for m in model.modules() if isinstance(_method(m), UnquantizedLinearMethod)]


class WorkerExtension:
    """Methods that vLLM adds to its worker, called by name through `collective_rpc`."""

    model_runner: Any

    def repack_tied_head(self) -> int:
        """Packs the weights of the embeddings again, and returns how many modules there were.

        A tied lm_head multiplies with the embedding's packed weights, which a reload does not
        renew (measured: log-probs off by 4.3, without a message).
        """
        kinds = ("VocabParallelEmbedding", "ParallelLMHead")
        found = [m for m in self.model_runner.get_model().modules() if type(m).__name__ in kinds]
        for module in found:
            module.quant_method.process_weights_after_loading(module)
        return len(found)

    def end_with(self, pid: int) -> None:
        """Ends this process and the engine core when that process, the rollout worker, ends.

        Without it vLLM's core outlives a worker that got SIGKILL, and keeps its memory. Linux only.
        """
        if hasattr(os, "pidfd_open"):
            waiting = os.pidfd_open(pid)
            threading.Thread(target=_end_after, args=(waiting, pid), daemon=True).start()


def _end_after(waiting: int, pid: int) -> None:
    core = os.getppid()  # the rollout worker itself if the core runs the model in its own process
    select.select([waiting], [], [])
    if core != pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


_BACKENDS: dict[Transport, type[WeightTransferEngine[Any, Any]]] = {
    "file": FileTransfer,
    "ipc": IpcTransfer,
    "nccl": NcclTransfer,
}


def backend(transport: Transport) -> str:
    """The name under which a transport's engine end is registered with vLLM.

    `backend("file")` is "plumbline_file".
    """
    return f"plumbline_{transport}"


def register() -> None:
    """Registers the backends with vLLM. A second call does nothing."""
    for transport, engine in _BACKENDS.items():
        if backend(transport) not in WeightTransferEngineFactory._registry:
            WeightTransferEngineFactory.register_engine(backend(transport), engine)


register()


class LearnerWeights(WeightSource):
    """The learner's weights in the form that vLLM's senders read: the tensors and names that the
    file transport writes, gathered one block at a time.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(info.name, info.dtype, info.shape) for info in self._weights.infos]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self._weights)


class WorkersClient:
    """All rollout workers, with the interface that vLLM's sender expects of one engine (its
    `VLLMWeightSyncClient`). Every call goes to all workers; `deadline_s` bounds every wait.

    vLLM's sender numbers the ranks of one engine. Here each worker is an engine, so its ranks are
    numbered after those of the workers before it.
    """

    def __init__(self, workers: Sequence[Handle], tensor_parallel: int, deadline_s: float) -> None:
        self._workers, self._tensor_parallel = tuple(workers), tensor_parallel
        self._deadline_s = deadline_s

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        infos = [dict(init_info) for _ in self._workers]
        for index, info in enumerate(infos):
            if "rank_offset" in info:
                info["rank_offset"] += index * self._tensor_parallel
        calls = [w.submit("open_transfer", i) for w, i in zip(self._workers, infos, strict=True)]
        for call in calls:
            call.result(self._deadline_s)

    def start_weight_update(self) -> None:
        self._all("start_update")

    def update_weights(self, update_info: dict[str, Any] | list[dict[str, Any]]) -> None:
        self._all("receive", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Ends the transfer. The version is set later, by `RolloutWorker.serve`, once the caches
        are empty."""
        self._all("finish_update")

    def _all(self, method: str, *args: Any) -> None:
        for call in [worker.submit(method, *args) for worker in self._workers]:
            call.result(self._deadline_s)


@dataclass(frozen=True)
class GpuChannel:
    """The learner's end of `ipc` or `nccl`, pickled to every rank and opened there. `unverified`.

        channel = GpuChannel("nccl", workers, tensor_parallel=1, deadline_s=120, rendezvous=address)
        sender = channel.open(weights, rank=0)      # on every rank; waits for the engines' ends

    `ipc`: every engine shares its GPU with a learner rank and reads that rank's memory. `nccl`:
    learner rank 0 broadcasts to all engine ranks; they connect to `rendezvous`, (host, port).
    """

    transport: Literal["ipc", "nccl"]
    workers: tuple[Handle, ...]
    tensor_parallel: int
    deadline_s: float
    rendezvous: tuple[str, int] | None = None

    def open(self, weights: Weights, rank: int) -> TrainerWeightTransferEngine[Any]:
        """Returns the sender of a learner's rank. On rank 0 it also opens the engines' ends."""
        return WeightTransferTrainerFactory.trainer_init(
            self.init_info(weights, rank),
            client=WorkersClient(self.workers, self.tensor_parallel, self.deadline_s),
            source=LearnerWeights(weights),
        )

    def init_info(self, weights: Weights, rank: int) -> IPCTrainerInitInfo | NCCLTrainerInitInfo:
        """The settings of vLLM's sender. Weights are packed into buffers, so a buffer must be large
        enough for the largest weight."""
        largest = max(info.num_bytes for info in weights.infos)
        size = max(DEFAULT_PACKED_BUFFER_SIZE_BYTES, largest)
        if self.transport == "ipc":
            return IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=size)
        assert self.rendezvous is not None
        host, port = self.rendezvous
        return NCCLTrainerInitInfo(
            rank=rank,
            master_address=host,
            master_port=port,
            world_size=1 + len(self.workers) * self.tensor_parallel,
            packed=True,
            packed_buffer_size_bytes=size,
        )
