from __future__ import annotations

from pathlib import Path

import pytest

from rl.errors import RolloutError
from rl.runtime.publish import publish


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
