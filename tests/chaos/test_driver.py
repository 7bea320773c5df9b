"""The driver killed outright at a random moment, again and again: the run goes on and ends in the
same bits."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from rl.runs.store import RunStore
from tests.chaos.runs import events, page, start, write
from tests.processes import titles
from tests.recipes.test_resume import lasting

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

STAGES = ("sft", "grpo")


def test_a_killed_driver_goes_on_and_ends_in_the_same_bits(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int
) -> None:
    def written(name: str) -> Path:
        return write(
            page(tiny_qwen3vl, scene_data, tmp_path, name, STAGES, steps=16, save_every=3), tmp_path
        )

    whole = written("whole")
    assert start(whole).wait(timeout=600) == 0, whole.with_suffix(".log").read_text()
    killed, run = written("killed"), tmp_path / "killed"
    rng, kills = random.Random(repeats), 0
    while True:
        driver, ups = start(killed), len(events(run, "engines_up"))
        while driver.poll() is None and len(events(run, "engines_up")) == ups:
            time.sleep(0.2)
        if kills < repeats and driver.poll() is None:
            time.sleep(rng.uniform(0, 12 / repeats**0.5))
            if driver.poll() is None:
                os.kill(driver.pid, signal.SIGKILL)
                driver.wait()
                kills += 1
                deadline = time.monotonic() + 180  # Ray's own agents end at leisure
                while list(titles(driver.pid)) and time.monotonic() < deadline:
                    time.sleep(0.5)
                assert not list(titles(driver.pid)), "processes outlive the killed driver"
                continue
        assert driver.wait(timeout=600) == 0, killed.with_suffix(".log").read_text()
        break
    print(f"driver killed {kills} times of {repeats}")
    assert kills
    assert RunStore.open(run).stage("grpo").is_finished()
    for stage in STAGES:
        assert lasting(run, stage) == lasting(tmp_path / "whole", stage), stage
