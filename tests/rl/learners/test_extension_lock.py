"""Locks that a killed build has left are removed, held ones are not."""

import time
from pathlib import Path

import pytest

from rl.learners.extension_lock import no_stale_locks, stale_locks


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    file.parent.mkdir(parents=True)
    return file


def test_a_lock_is_stale_where_nobody_has_it_open(lock: Path, tmp_path: Path) -> None:
    assert stale_locks(tmp_path) == {}
    with lock.open("w"):
        assert stale_locks(tmp_path) == {}
    assert list(stale_locks(tmp_path)) == [lock]


def test_a_lock_left_while_we_wait_is_removed_and_a_held_one_stays(
    lock: Path, tmp_path: Path
) -> None:
    with no_stale_locks(tmp_path):
        with lock.open("w"):
            time.sleep(2.5)
            assert lock.exists()
        deadline = time.monotonic() + 10
        while lock.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not lock.exists()
