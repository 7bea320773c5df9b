"""A run says when other programs keep its cores busy: it is much slower then."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from recipes.running import console
from rl.runtime.shared_cores import CoreUse

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")


def printed(since: CoreUse | None) -> str:
    """What the console says before the engines start."""
    text = io.StringIO()
    console.warn_of_shared_cores(Console(file=text, width=200), since)
    return text.getvalue()


def test_busy_cores_are_said_in_one_line() -> None:
    burn = [sys.executable, "-c", "print('up', flush=True)\nwhile True: pass"]
    count = min(16, len(os.sched_getaffinity(0)))
    others = [subprocess.Popen(burn, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        line = printed(CoreUse.now())
    finally:
        for other in others:
            other.kill()
            other.communicate()
    if len(os.sched_getaffinity(0)) <= 16:
        assert "cores are busy with other programs: this run will take longer" in line
        assert line.count("\n") == 1


def test_a_system_that_does_not_say_is_no_warning() -> None:
    assert printed(None) == ""
