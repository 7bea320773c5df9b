"""Publish: the learner's weights become the workers', under a version, in one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rl.errors import RolloutError


class Source(Protocol):
    """Who writes weights: the learner."""

    def publish(self, path: str) -> None: ...


class Target(Protocol):
    """Who takes them: all rollout workers, or none serves the version."""

    def publish(self, version: int, path: str) -> None: ...


@dataclass(frozen=True)
class Published:
    """What was published. The file stays until the next one: a restarted worker reads it again."""

    version: int
    path: str
    write_s: float
    take_s: float


def publish(source: Source, target: Target, folder: Path, version: int) -> Published:
    """Writes the weights, has every worker take them, then removes the files of earlier versions.

    `folder` is shared memory on one machine, a shared file system on several. After an error the
    earlier file is still there. Raises: RolloutError, DeadlineError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"weights-{version:06d}.safetensors"
    started = time.perf_counter()
    source.publish(str(path))
    if not path.is_file():
        raise RolloutError("the learner wrote no weights", where=str(path))
    written = time.perf_counter()
    target.publish(version, str(path))
    taken = time.perf_counter()
    for old in folder.glob("weights-*.safetensors"):
        if old != path:
            old.unlink()
    return Published(version, str(path), written - started, taken - written)
