"""Folders of published weights: a dead driver's goes, a living one's stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl.runtime.exchange import make_exchange, remove_abandoned, started_at

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

MAKE = """
import sys
from pathlib import Path
from rl.runtime.exchange import make_exchange
folder = make_exchange(Path(sys.argv[1]))
(folder / "weights-000001.safetensors").write_bytes(b"weights")
print(folder, flush=True)
sys.stdin.read()
"""


def other_driver(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that lives until its input ends, and the folder that it made."""
    command = [sys.executable, "-c", MAKE, str(root)]
    pipe = subprocess.PIPE
    driver = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert driver.stdout is not None
    return driver, Path(driver.stdout.readline().strip())


def test_a_killed_drivers_folder_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, left = other_driver(tmp_path)
    living, used = other_driver(tmp_path)
    dead.kill()
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # its parent has yet to take note
    try:
        mine = make_exchange(tmp_path)
        assert not left.exists()
        assert (used / "weights-000001.safetensors").is_file()
        assert remove_abandoned(tmp_path) == []
        assert sorted(tmp_path.iterdir()) == sorted([mine, used])
    finally:
        for driver in (dead, living):
            driver.kill()
            driver.communicate()
    assert remove_abandoned(tmp_path) == [used]


def test_a_process_id_that_was_given_out_again_is_told_by_its_start(tmp_path: Path) -> None:
    mine = make_exchange(tmp_path)
    pid, start = os.getpid(), started_at(os.getpid())
    before = mine.with_name(mine.name.replace(f"-{pid}-{start}-", f"-{pid}-{(start or 0) - 1}-"))
    before.mkdir()
    assert remove_abandoned(tmp_path) == [before]
    assert mine.is_dir()


def test_what_another_machine_made_is_left(tmp_path: Path) -> None:
    other = tmp_path / "plumbline-another-host-4026531836-1-1-abc_12"
    other.mkdir()
    (tmp_path / "plumbline-notes").mkdir()
    assert remove_abandoned(tmp_path) == []
    assert other.is_dir()
