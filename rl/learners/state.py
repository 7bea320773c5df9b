"""The parts of a saved training state that DeepSpeed's own checkpoint lacks: the settings it was
saved with, the number of updates, and the random states.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch

from rl.errors import ModelError
from rl.learners.base import LearnerConfig
from rl.learners.engine import zero_stage

STATE_TAG = "engine"  # DeepSpeed's name for the folder of its checkpoint
# The settings that a state cannot be loaded without: they decide how it is cut into files, and in
# which dtype.
BOUND = ("ranks", "zero", "offload", "dtype", "loss_scale")


def save_settings(folder: Path, config: LearnerConfig) -> None:
    """Writes `learner.json`: the settings that the state is bound to, and the
    ZeRO stage that DeepSpeed ran (`stage`): one rank may run 0 where `zero` is 1.
    """
    settings = {name: getattr(config, name) for name in BOUND} | {"stage": zero_stage(config)}
    (folder / "learner.json").write_text(json.dumps(settings), encoding="utf-8")


def check_settings(folder: Path, config: LearnerConfig) -> None:
    """Raises: ModelError naming each setting that differs from when the state was saved, or the
    ZeRO stage that its files are of.
    """
    file = folder / "learner.json"
    saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    changed = [name for name in BOUND if saved.get(name) != getattr(config, name)]
    if changed:
        differences = ", ".join(f"{n}: {saved.get(n)} -> {getattr(config, n)}" for n in changed)
        raise ModelError(
            f"the saved state is another learner's ({differences})",
            where=str(folder),
            expected="the learner that it was saved by",
            do="put these settings of learner back, or train again from the start with --fresh",
        )
    # States of earlier versions do not name it: there DeepSpeed ran what `zero` says.
    stage = saved.get("stage", saved.get("zero"))
    if stage != zero_stage(config):
        raise ModelError(
            f"the saved state holds AdamW's moments as ZeRO {stage} keeps them, and this learner "
            f"runs ZeRO {zero_stage(config)}: a single rank in float32 partitions nothing",
            where=str(folder),
            expected="a state that this version wrote",
            do="train again from the start with --fresh, or resume with the version that wrote it",
        )


def save_random_states(folder: Path, rank: int, updates: int) -> None:
    """Writes `random-<rank>.pt`: every random state of this process, and the number of updates."""
    states = {
        "updates": updates,
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(states, _file(folder, rank))


def load_random_states(folder: Path, rank: int) -> int:
    """Restores every random state. Returns the number of updates."""
    states = torch.load(_file(folder, rank), weights_only=False)  # safe: our own file, with a hash
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    updates: int = states["updates"]
    return updates


def _file(folder: Path, rank: int) -> Path:
    return folder / f"random-{rank:04d}.pt"
