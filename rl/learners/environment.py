"""What torch.distributed and DeepSpeed read from the environment of a learner's process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch


def set_environment(rank: int, world_size: int, master_addr: str, master_port: int) -> None:
    """The rank's place among all, and where DeepSpeed builds and finds its extension. Before the
    first import of deepspeed.
    """
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_RANK=str(local_rank(rank)),
        MASTER_ADDR=master_addr,
        MASTER_PORT=str(master_port),
    )
    if "TORCH_EXTENSIONS_DIR" not in os.environ and os.access(sys.prefix, os.W_OK):
        # Beside the compiler flags that it is built with: two environments that share one folder
        # build it again and again, each after the other.
        os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(sys.prefix) / "torch_extensions")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def is_on_gpu() -> bool:
    """Whether this process computes on a GPU."""
    return torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR", "") != "cpu"


def local_rank(rank: int) -> int:
    """Which of the GPUs that this process sees is the rank's: Ray shows an actor its own alone."""
    count = torch.cuda.device_count()
    return rank % count if count else rank
