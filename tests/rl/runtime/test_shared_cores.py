"""How many cores other programs keep busy."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rl.runtime.shared_cores import CoreUse, shared_line

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")

BURN = "import time\nwhile time.process_time() < 0.6: pass\nprint('burnt', flush=True)\ninput()"


def test_another_programs_time_is_counted() -> None:
    before = CoreUse.now()
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", BURN], stdin=pipe, stdout=pipe, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "burnt\n"
        after = CoreUse.now()
    finally:
        other.kill()
        other.communicate()
    assert before is not None
    assert after is not None
    assert (after.everyone - before.everyone) - (after.own - before.own) >= 0.5


def test_of_four_cores_one_and_a_half_are_taken() -> None:
    """10 s: all programs used 25 s of processor time, this one 10 s of it: 15 s / 10 s."""
    before = CoreUse(at=0.0, everyone=100.0, own=3.0, cores=4)
    assert before.taken_until(replace(before, at=10.0, everyone=125.0, own=13.0)) == 1.5


def test_only_cores_of_ours_and_no_idle_or_nice_time(tmp_path: Path) -> None:
    """Hundredths of a second: 100 user, 999 nice, 50 system, 999 idle and iowait, 10 + 20 + 20."""
    stat = tmp_path / "stat"
    mine = min(os.sched_getaffinity(0))
    stat.write_text(
        "cpu  1 1 1 1 1 1 1 1 0 0\n"
        f"cpu{mine} 100 999 50 999 999 10 20 20 7 0\n"
        "cpu4096 100 100 100 100 100 100 100 100 0 0\n"
        "intr 5 6 7\n"
    )
    found = CoreUse.now(stat)
    assert found is not None
    assert (found.everyone * os.sysconf("SC_CLK_TCK"), found.cores) == (200, 1)


def test_a_system_without_counters_says_nothing(tmp_path: Path) -> None:
    assert CoreUse.now(tmp_path / "stat") is None


@pytest.mark.parametrize(
    ("taken", "cores", "usable", "says"),
    [
        (0.0, 2, 2.0, False),
        (0.4, 2, 2.0, False),
        (0.5, 2, 2.0, True),
        (2.0, 2, 2.0, True),
        (40.0, 64, 2.0, False),  # a container that may use two of many
        (63.0, 64, 2.0, True),
    ],
)
def test_a_quarter_of_the_usable_cores_is_said(
    taken: float, cores: int, usable: float, says: bool
) -> None:
    assert bool(shared_line(taken, cores, usable)) is says
