"""`plumbline run` and a real SIGTERM: while the engines start, and in a step."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rl.runs.checkpoint import STATE, newest_valid
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from tests.chaos.runs import events, page, start, write
from tests.processes import titles

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def stopped(
    path: Path, ready: Callable[[subprocess.Popen[bytes]], bool], exit_code: int = 0
) -> str:
    """The command gets SIGTERM once `ready`. Returns the line that it ended with."""
    driver = start(path)
    while not ready(driver):
        assert driver.poll() is None, path.with_suffix(".log").read_text()
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGTERM)
    log = path.with_suffix(".log")
    assert driver.wait(timeout=300) == exit_code, log.read_text()
    assert not list(Path("/dev/shm").glob(f"plumbline-*-{driver.pid}-*"))
    return log.read_text().splitlines()[-1]


def test_a_run_told_to_stop_exits_0_while_it_starts_and_in_a_step(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    recipe = page(tiny_qwen3vl, scene_data, tmp_path, "told", ("sft",), steps=2000, save_every=2000)
    path, run = write(recipe, tmp_path), tmp_path / "told"
    sft = RunStore(run).stage("sft")
    line = stopped(path, lambda driver: any(b"raylet" in title for _, title in titles(driver.pid)))
    assert line.startswith("plumbline: stopped by SIGTERM: finished stages")
    assert not events(run, "engines_up")
    assert len(events(run, "run_stopped")) == 1

    line = stopped(path, lambda _: any(row["step"] > 1 for row in read_metrics(sft.metrics)))
    (step,) = {row["step"] for row in list(read_metrics(sft.metrics))[-1:]}
    assert f"sft is saved at step {step} of 2000" in line
    saved = newest_valid(sft.checkpoints, holding=STATE)
    assert saved is not None
    assert saved.name == f"step-{step:06d}"
    assert line.endswith(events(run, "run_stopped")[-1]["message"])
    assert not events(run, "run_failed")


@pytest.mark.slow
def test_a_step_longer_than_the_grace_exits_1_and_the_stage_begins_anew(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    recipe = page(tiny_qwen3vl, scene_data, tmp_path, "late", ("sft",), steps=2000, save_every=2000)
    path, run = write(recipe, tmp_path, ("run", "grace_s", 0.01)), tmp_path / "late"
    sft = RunStore(run).stage("sft")
    line = stopped(path, lambda _: any(read_metrics(sft.metrics)), exit_code=1)
    assert "the step did not end within 0.01 s of SIGTERM" in line
    assert len(events(run, "run_failed")) == 1
    assert not events(run, "learner_lost")
    done = list(read_metrics(sft.metrics))[-1]["step"]

    def is_at_steps_again(driver: subprocess.Popen[bytes]) -> bool:
        return bool(events(run, "steps_redone")) and any(read_metrics(sft.metrics))

    stopped(path, is_at_steps_again, exit_code=1)
    assert len(events(run, "stage_restarted")) == 1
    assert [event["steps"] for event in events(run, "steps_redone")] == [done]
