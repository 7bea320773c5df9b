"""vLLM's weight-transfer API over files: safetensors in shared memory or on a shared file system.

The default and reference transport: a restarted engine can read the file again. Importing this
module registers the backend: every process in which vLLM runs a worker imports it for
`WorkerExtension` before it makes its transfer engine, so no packaging entry point is needed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

BACKEND = "plumbline_file"


@dataclass
class FileInit(WeightTransferInitInfo):
    """Nothing to agree on beforehand."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """One file of weights, under the checkpoint's names."""

    path: str = ""


class FileTransfer(WeightTransferEngine[FileInit, FileUpdate]):
    """Loads a safetensors file into the running model, layer by layer."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """No connection to open."""

    def start_weight_update(self) -> None:
        # On CPU the linears are repacked after loading: a plain load finds empty parameters.
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: FileUpdate) -> None:
        with safe_open(update_info.path, framework="pt", device="cpu") as file:
            names = file.keys()
            self.model.load_weights((name, file.get_tensor(name)) for name in names)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class synchronises an accelerator, which raises where there is none.
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held."""


class WorkerExtension:
    """Methods that vLLM adds to its worker, called by name through `collective_rpc`."""

    model_runner: Any

    def repack_tied_head(self) -> int:
        """Packs the embeddings' matrix product again, and says how many there were.

        A tied lm_head runs on the embedding's packed weights, which a reload leaves as they were
        (measured: log-probs off by 4.3, without a message).
        """
        kinds = ("VocabParallelEmbedding", "ParallelLMHead")
        found = [m for m in self.model_runner.get_model().modules() if type(m).__name__ in kinds]
        for module in found:
            module.quant_method.process_weights_after_loading(module)
        return len(found)

    def end_with(self, pid: int) -> None:
        """When that process (the rollout worker) is gone, so are this one and the engine core.

        vLLM's core outlives a parent that got SIGKILL, and keeps its memory. Linux only.
        """
        if hasattr(os, "pidfd_open"):
            waiting = os.pidfd_open(pid)
            threading.Thread(target=_end_after, args=(waiting, pid), daemon=True).start()


def _end_after(waiting: int, pid: int) -> None:
    core = os.getppid()  # or the rollout worker, where the core itself runs the model
    select.select([waiting], [], [])
    if core != pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def register() -> None:
    """Makes the backend known to vLLM; again is harmless."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, FileTransfer)


register()


def weight_names(path: Path) -> frozenset[str]:
    """Names of the tensors in a safetensors file, or in those of a checkpoint folder."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    names: set[str] = set()
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            names.update(opened.keys())
    return frozenset(names)
