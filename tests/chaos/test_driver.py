"""The driver killed outright at a random moment, again and again: the run goes on and ends in the
same bits."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rl.runs.store import RunStore
from tests.chaos.runs import last_step, page, start, write
from tests.processes import titles
from tests.recipes.test_resume import assert_learning, lasting

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

STAGES = ("sft", "grpo")


def test_a_killed_driver_goes_on_and_ends_in_the_same_bits(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    def written(name: str) -> Path:
        return write(
            page(tiny_qwen3vl, scene_data, tmp_path, name, STAGES, steps=16, save_every=3), tmp_path
        )

    whole = written("whole")
    began = time.monotonic()
    driver = start(whole)
    first = _next_step(driver, tmp_path / "whole") - began
    assert driver.wait(timeout=600) == 0, whole.with_suffix(".log").read_text()
    lasts = time.monotonic() - began
    for stage in STAGES:
        assert_learning(tmp_path / "whole", stage)
    kills = among_steps = number = 0
    while kills < repeats:  # a run that ends before its next kill makes place for another
        number += 1
        path, run = written(f"killed-{number}"), tmp_path / f"killed-{number}"
        while kills < repeats:
            # In turn: among the steps, and from the command's first moment to past its last. Most
            # of a command so short is the engines' start.
            driver, is_among_steps = start(path), kills % 2 == 0
            if is_among_steps:
                _next_step(driver, run)
            moment = rng.uniform(0, lasts - first if is_among_steps else lasts)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(timeout=moment)
            if driver.poll() is not None:
                break
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            kills += 1
            among_steps += is_among_steps
            since = "a step of its own" if is_among_steps else "the start"
            print(f"kill {kills}: {moment:.1f} s after {since}, {_reached(run)}")
            deadline = time.monotonic() + 180  # Ray's own agents end at leisure
            while list(titles(driver.pid)) and time.monotonic() < deadline:
                time.sleep(0.5)
            assert not list(titles(driver.pid)), "processes outlive the killed driver"
        else:
            driver = start(path)
        assert driver.wait(timeout=600) == 0, path.with_suffix(".log").read_text()
        assert RunStore.open(run).stage("grpo").is_finished()
        for stage in STAGES:
            assert lasting(run, stage) == lasting(tmp_path / "whole", stage), (number, stage)
    print(
        f"driver killed {kills} times in {number} runs, {among_steps} of them after a step of the "
        "command that was killed; each run ended as the undisturbed one"
    )


def _next_step(driver: subprocess.Popen[bytes], run: Path) -> float:
    """The moment at which this command has done a step, or has ended. A run that goes on removes
    the steps after its checkpoint first.
    """
    fewest = steps = sum(last_step(run, stage) for stage in STAGES)
    while driver.poll() is None and steps <= fewest:
        time.sleep(0.05)
        steps = sum(last_step(run, stage) for stage in STAGES)
        fewest = min(fewest, steps)
    return time.monotonic()


def _reached(run: Path) -> str:
    """How far the run has come: its last stage with a step, and that step."""
    found = "no step done"
    for stage in STAGES:
        if step := last_step(run, stage):
            found = f"{stage} step {step}"
    return found
