"""Publish: the learner's weights become the workers', under a version, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rl.errors import RolloutError

if TYPE_CHECKING:
    from rl.learners.base import Channel
    from rl.runtime.actors import Handle


class Source(Protocol):
    """Who writes weights: the learner."""

    def publish(self, path: str) -> None: ...


class Target(Protocol):
    """Who takes them: all rollout workers, or none serves the version."""

    def publish(self, version: int, path: str) -> None: ...


class Ranks(Source, Protocol):
    """A learner that also sends, from GPU to GPU."""

    ranks: list[Handle]

    def connect(self, channel: Channel) -> None: ...

    def send(self) -> None: ...


class Workers(Target, Protocol):
    """Rollout workers that the learner's first rank leads while it sends."""

    handles: list[Handle]

    def serve(self, version: int, file: Callable[[], str]) -> None: ...


@dataclass(frozen=True)
class Published:
    """What was published. A file stays until the next one: a restarted worker reads it again.
    `path` is "" where the weights did not pass through one.
    """

    version: int
    path: str
    write_s: float
    take_s: float


class Transport(Protocol):
    """A way for weights from the learner to the workers."""

    def publish(self, version: int) -> Published: ...


@dataclass(frozen=True)
class FileTransport:
    """Through a file in `folder`: shared memory on one machine, a shared file system on several."""

    source: Source
    target: Target
    folder: Path

    def publish(self, version: int) -> Published:
        """One transaction. Raises: RolloutError, DeadlineError."""
        return publish(self.source, self.target, self.folder, version)


class GpuTransport:
    """From GPU to GPU through a channel that `open_channel` makes for these workers; it is opened
    anew after a worker or a rank was started anew. `unverified`: no machine has run it here.

    A worker that starts anew between two publishes has missed what was sent. The learner then
    writes a file for it: until the next publish its weights are still those served.
    """

    def __init__(
        self,
        source: Ranks,
        target: Workers,
        folder: Path,
        open_channel: Callable[[Sequence[Handle]], Channel],
    ) -> None:
        self._source, self._target, self._folder = source, target, folder
        self._open_channel = open_channel
        self._ends: tuple[list[Handle], list[Handle]] | None = None  # whom the channel connects

    def publish(self, version: int) -> Published:
        """One transaction. Raises: RolloutError, DeadlineError; the workers are then of no use."""
        started = time.perf_counter()
        ends = (list(self._source.ranks), list(self._target.handles))
        if self._ends != ends:
            self._source.connect(self._open_channel(ends[1]))
            self._ends = ends
        self._source.send()
        sent = time.perf_counter()
        self._target.serve(version, lambda: self._write(version))
        return Published(version, "", sent - started, time.perf_counter() - sent)

    def _write(self, version: int) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = weights_file(self._folder, version)
        self._source.publish(str(path))
        _remove_others(path)
        return str(path)


def publish(source: Source, target: Target, folder: Path, version: int) -> Published:
    """Writes the weights, has every worker take them, then removes the files of earlier versions.

    After an error the earlier file is still there. Raises: RolloutError, DeadlineError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = weights_file(folder, version)
    started = time.perf_counter()
    source.publish(str(path))
    if not path.is_file():
        raise RolloutError(
            "the learner wrote no weights",
            where=str(path),
            do="look at the disk that is left, and report this",
        )
    written = time.perf_counter()
    target.publish(version, str(path))
    taken = time.perf_counter()
    _remove_others(path)
    return Published(version, str(path), written - started, taken - written)


def weights_file(folder: Path, version: int) -> Path:
    """The file of a version."""
    return folder / f"weights-{version:06d}.safetensors"


def _remove_others(path: Path) -> None:
    for old in path.parent.glob("weights-*.safetensors"):
        if old != path:
            old.unlink()
