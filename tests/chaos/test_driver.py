"""The driver killed outright at a random moment, again and again: the run goes on and ends in the
same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from recipes.config import resolved
from rl.runs.store import RunStore
from tests.chaos.processes import titles
from tests.recipes.test_resume import lasting, recipe

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

STAGES = ("sft", "grpo")


def page(model: Path, data: Path, root: Path, name: str) -> Path:
    """A page of two stages, long enough to be killed in the middle of each."""
    kept = yaml.safe_load(resolved(recipe(model, data, root, name, steps=16, save_every=3)))
    kept["stages"] = [stage for stage in kept["stages"] if stage["name"] in STAGES]
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(kept))
    return path


def start(path: Path) -> subprocess.Popen[bytes]:
    log = path.with_suffix(".log").open("ab")
    command = [str(Path(sys.executable).parent / "plumbline"), "run", str(path), "--resume"]
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def events(run: Path, kind: str) -> int:
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(json.loads(line)["event"] == kind for line in lines if line.endswith("}"))


def test_a_killed_driver_goes_on_and_ends_in_the_same_bits(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int
) -> None:
    whole = page(tiny_qwen3vl, scene_data, tmp_path, "whole")
    assert start(whole).wait(timeout=600) == 0, whole.with_suffix(".log").read_text()
    killed, run = page(tiny_qwen3vl, scene_data, tmp_path, "killed"), tmp_path / "killed"
    rng, kills = random.Random(repeats), 0
    while True:
        driver, ups = start(killed), events(run, "engines_up")
        while driver.poll() is None and events(run, "engines_up") == ups:
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
    assert kills
    assert RunStore.open(run).stage("grpo").is_finished()
    for stage in STAGES:
        assert lasting(run, stage) == lasting(tmp_path / "whole", stage), stage
