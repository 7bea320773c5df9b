"""What a stage goes on from beside the engine's own checkpoint: counters and random states."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

STATE_TAG = "engine"  # DeepSpeed's name for the folder of its checkpoint


def save_random_states(folder: Path, rank: int, updates: int) -> None:
    """Writes `random-<rank>.pt`: every random state of this process, and the updates done."""
    states = {
        "updates": updates,
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(states, _file(folder, rank))


def load_random_states(folder: Path, rank: int) -> int:
    """Sets every random state as it was saved. Returns the updates done."""
    states = torch.load(_file(folder, rank), weights_only=False)  # our own file, hashed
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    updates: int = states["updates"]
    return updates


def _file(folder: Path, rank: int) -> Path:
    return folder / f"random-{rank:04d}.pt"
