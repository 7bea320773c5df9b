"""Environment variables that torch.distributed and DeepSpeed read in a learner's process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch


def set_environment(rank: int, world_size: int, master_addr: str, master_port: int) -> None:
    """Sets the rank, the address of rank 0, and the folder of DeepSpeed's compiled extension.

    Called before the first import of deepspeed, which reads them.
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
        # In the Python environment itself: two environments that share one folder are built with
        # different compiler flags, and each would rebuild what the other has built.
        os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(sys.prefix) / "torch_extensions")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def is_on_gpu() -> bool:
    """Whether this process computes on a GPU."""
    return torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR", "") != "cpu"


def local_rank(rank: int) -> int:
    """The index of the rank's GPU among those that this process sees.

    Ray shows an actor only its own GPU, which then has index 0 whatever the rank.
    """
    count = torch.cuda.device_count()
    return rank % count if count else rank
