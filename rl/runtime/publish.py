"""How weights reach an inference engine.

One publish is one transaction. Either every rollout worker serves the new version at its end, or
an error stops the run and no worker is asked for anything more. The whole path, with the file
transport (the default):

    step                                        where it happens
    1  the driver asks for version n + 1        recipes.engines.training.TrainingEngines
    2  the learner gathers its weights, one     rl.learners.weights.Weights, called by
       block at a time, and rank 0 writes them  rl.learners.zero.ZeroLearner.publish
       to a safetensors file in shared memory
    3  every worker stops its requests, loads   rollouts.worker.RolloutWorker.update_weights
       the file, empties every cache that
       holds results of the old weights, and
       labels new tokens with version n + 1
    4  vLLM loads the file                      rollouts.engines.vllm.transfer.FileTransfer
    5  files of earlier versions are removed    `publish` in this file
    6  probes are sampled and compared with     rl.runtime.parity.ParityGate
       the learner's log-probs

With the `ipc` and `nccl` transports (GPUs, `unverified`) steps 2 to 5 are a transfer from GPU to
GPU through vLLM's weight-transfer API: `GpuTransport` here, and its two ends in
`rollouts.engines.vllm.transfer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rl.errors import RolloutError, RunError, is_disk_full

if TYPE_CHECKING:
    from rl.learners.base import Channel
    from rl.runtime.actors import Handle


class Source(Protocol):
    """Where the weights come from: the learner."""

    def publish(self, path: str) -> None:
        """Writes the current weights to this file. Returns when the file is complete."""
        ...


class Target(Protocol):
    """Where the weights go: all rollout workers together."""

    def publish(self, version: int, path: str) -> None:
        """Returns when every worker serves this file's weights under this version."""
        ...


class Ranks(Source, Protocol):
    """A learner that can also send its weights from GPU to GPU."""

    ranks: list[Handle]

    def connect(self, channel: Channel) -> None:
        """Opens the channel on every rank. Rank 0 opens the workers' ends as well."""
        ...

    def send(self) -> None:
        """Sends all weights. Returns when every worker has received them."""
        ...


class Workers(Target, Protocol):
    """Rollout workers that can also receive weights from GPU to GPU."""

    handles: list[Handle]

    def serve(self, version: int, file: Callable[[], str]) -> None:
        """Returns when every worker serves the weights that it received, under this version.
        `file` writes the same weights to a file, for a worker that was restarted and has missed
        them."""
        ...


@dataclass(frozen=True)
class Published:
    """What was published, and how long it took.

    `path` is the file of the weights, "" if they did not pass through a file. It is kept until the
    next publish: a worker that is restarted in between loads it. `write_s` are the seconds that the
    learner took to write or send, `take_s` those that the workers took to load and serve.
    """

    version: int
    path: str
    write_s: float
    take_s: float


class Transport(Protocol):
    """A way for the learner's weights to reach the workers."""

    def publish(self, version: int) -> Published:
        """Returns when every worker serves the learner's weights under this version."""
        ...


@dataclass(frozen=True)
class FileTransport:
    """Publishes through a file in `folder`: shared memory on one machine, a shared file system on
    several.

        transport = FileTransport(learner, pool, Path("/dev/shm/plumbline-example"))
        learner.step(...)
        transport.publish(1)        # waits until every worker serves the new weights
        pool.sample(...)            # so these tokens are sampled from version 1
        transport.publish(2)        # the file of version 1 is removed when all serve 2

    Publishing a version that a worker serves already changes nothing there.
    """

    source: Source
    target: Target
    folder: Path

    def publish(self, version: int) -> Published:
        """One transaction. Raises: see `publish` in this file."""
        return publish(self.source, self.target, self.folder, version)


class GpuTransport:
    """Publishes from GPU to GPU. `unverified`: no machine has run it here.

    `open_channel(workers)` makes the channel between the learner's ranks and these workers. It is
    opened at the first publish, and again after a rank or a worker was restarted, because a process
    group cannot take a new member.

        transport = GpuTransport(learner, pool, folder, open_channel)
        transport.publish(1)        # opens the channel, sends, waits until every worker serves 1
        transport.publish(2)        # sends through the same channel

    A worker that is restarted between two publishes has missed what was sent. The learner then
    writes its weights to a file for that worker: until the next publish its weights are still those
    that the other workers serve.
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
        # The ranks and workers that the open channel connects; None before the first publish.
        self._connected: tuple[list[Handle], list[Handle]] | None = None

    def publish(self, version: int) -> Published:
        """One transaction.

        Raises: RolloutError, DeadlineError. The workers may then hold a part of the new weights, so
        nothing may be sampled from them.
        """
        started = time.perf_counter()
        present = (list(self._source.ranks), list(self._target.handles))
        if self._connected != present:
            self._source.connect(self._open_channel(present[1]))
            self._connected = present
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
    """Writes the weights to a file, waits until every worker serves it, then removes the files of
    earlier versions.

    The earlier file is removed last, so that two versions are on the disk for a moment: after an
    error, a worker that is restarted still finds the version that the others serve.

    Raises: RolloutError or DeadlineError from the workers; RunError if there is no room for the
    second file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = weights_file(folder, version)
    started = time.perf_counter()
    try:
        source.publish(str(path))
    except RunError as error:
        if not is_disk_full(error):
            raise
        raise RunError(
            f"no space left for the weights on their way to the rollout workers: {error.what}",
            where=str(folder),
            expected="room for two versions of them",
            do="free some space there, then continue with --resume",
        ) from error
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
    """The file of a version.

    >>> weights_file(Path("/dev/shm/run"), 3).name
    'weights-000003.safetensors'
    """
    return folder / f"weights-{version:06d}.safetensors"


def _remove_others(path: Path) -> None:
    for old in path.parent.glob("weights-*.safetensors"):
        if old != path:
            old.unlink()
