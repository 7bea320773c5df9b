from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rl.errors import RolloutError, RunError
from rl.runtime.publish import FileTransport, GpuTransport, publish


class Writer:
    def publish(self, path: str) -> None:
        Path(path).write_bytes(b"weights")


class Taker:
    def __init__(self, fails: bool = False) -> None:
        self.taken: list[tuple[int, str, list[str]]] = []
        self.fails = fails

    def publish(self, version: int, path: str) -> None:
        if self.fails:
            raise RolloutError("no", where="rollout-0")
        files = sorted(file.name for file in Path(path).parent.iterdir())
        self.taken.append((version, path, files))


def test_the_file_stays_until_the_next_one_is_served(tmp_path: Path) -> None:
    taker = Taker()
    publish(Writer(), taker, tmp_path / "shm", 1)
    done = publish(Writer(), taker, tmp_path / "shm", 2)
    assert [version for version, *_ in taker.taken] == [1, 2]
    assert len(taker.taken[1][2]) == 2  # while the second is taken, the first is there
    assert [file.name for file in (tmp_path / "shm").iterdir()] == [Path(done.path).name]
    assert (done.version, Path(done.path).is_file()) == (2, True)


def test_a_publish_that_fails_leaves_the_last_file(tmp_path: Path) -> None:
    first = publish(Writer(), Taker(), tmp_path, 1)
    with pytest.raises(RolloutError):
        publish(Writer(), Taker(fails=True), tmp_path, 2)
    assert Path(first.path).is_file()


def test_a_learner_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    class Silent:
        def publish(self, path: str) -> None: ...

    with pytest.raises(RolloutError, match="wrote no weights"):
        publish(Silent(), Taker(), tmp_path, 1)


def test_no_room_for_the_weights_is_one_line_that_says_where(tmp_path: Path) -> None:
    class Full:
        def publish(self, path: str) -> None:
            raise RunError(
                "SafetensorError: I/O error: No space left on device (os error 28)",
                where="learner-0 in publish",
            )

    with pytest.raises(RunError, match="no space left for the weights") as told:
        publish(Full(), Taker(), tmp_path, 1)
    line = str(told.value)
    assert line.startswith(f"{tmp_path}: ")
    assert "room for two versions" in line
    assert "--resume" in line


def test_the_file_transport_is_a_publish(tmp_path: Path) -> None:
    taker = Taker()
    transport = FileTransport(Writer(), taker, tmp_path)
    assert [transport.publish(version).version for version in (1, 2)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 1


class Sender(Writer):
    """A learner that can also send; the log is shared with the workers."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.ranks: list[Any] = ["learner-0", "learner-1"]

    def connect(self, channel: Any) -> None:
        self.log.append(("connect", channel))

    def send(self) -> None:
        self.log.append(("send",))

    def publish(self, path: str) -> None:
        super().publish(path)
        self.log.append(("write", Path(path).name))


class Receiver(Taker):
    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log
        self.handles: list[Any] = ["rollout-0"]
        self.file: Callable[[], str] = str

    def serve(self, version: int, file: Callable[[], str]) -> None:
        self.log.append(("serve", version))
        self.file = file


def test_gpus_are_connected_once_and_again_after_a_loss(tmp_path: Path) -> None:
    log: list[Any] = []
    source, target = Sender(log), Receiver(log)

    def channel(workers: Sequence[Any]) -> Any:
        return tuple(workers)

    transport = GpuTransport(source, target, tmp_path, channel)
    first = transport.publish(1)
    transport.publish(2)
    assert (first.version, first.path) == (1, "")
    assert log == [("connect", ("rollout-0",)), ("send",), ("serve", 1), ("send",), ("serve", 2)]
    assert list(tmp_path.iterdir()) == []  # no file is written for whom nobody asks
    del log[:]
    target.handles[0] = "rollout-0 restarted"
    transport.publish(3)
    source.ranks = ["learner-0 restarted", "learner-1 restarted"]
    transport.publish(4)
    assert [entry for entry in log if entry[0] == "connect"] == [
        ("connect", ("rollout-0 restarted",)),
        ("connect", ("rollout-0 restarted",)),
    ]


def test_a_worker_that_missed_the_sending_gets_a_file(tmp_path: Path) -> None:
    log: list[Any] = []
    source, target = Sender(log), Receiver(log)
    transport = GpuTransport(source, target, tmp_path, tuple)
    transport.publish(1)
    assert Path(target.file()).read_bytes() == b"weights"
    transport.publish(2)
    assert [Path(target.file()).name] == [file.name for file in tmp_path.iterdir()]
    assert [entry for entry in log if entry[0] == "write"] == [
        ("write", "weights-000001.safetensors"),
        ("write", "weights-000002.safetensors"),
    ]
