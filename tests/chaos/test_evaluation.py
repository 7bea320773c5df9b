"""`plumbline eval` of 2,000 questions killed outright in the middle: resumed, every question is
answered exactly once and the score is that of the undisturbed run.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recipes.scenes import write_scenes
from tests.processes import titles

pytestmark = [
    pytest.mark.engine,
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

QUESTIONS = 2000
SETTINGS = ["rollout.max_model_len=256", "rollout.kv_cache_gib=0.25", "runtime.dashboard=false"]


def start(model: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "plumbline"), "eval", str(model), "--resume"]
    command += ["--benchmark", f"textvqa={data}", "--out", str(out)]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    log = out.with_suffix(".log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def answers(out: Path) -> dict[str, dict[str, Any]]:
    """The whole rows that are on disk, by question."""
    file = out / "evals/base/textvqa/responses.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    rows = [json.loads(line) for line in lines]
    assert len({row["sample_id"] for row in rows}) == len(rows)
    return {row["sample_id"]: row for row in rows}


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evals/base/textvqa/result.json").read_text())
    return found


def test_a_killed_evaluation_asks_nothing_twice_and_scores_the_same(
    tiny_qwen3vl: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    write_scenes(tmp_path, seed=0, sft=1, rl=1, select=667, report=QUESTIONS - 667)
    data, whole, killed = tmp_path / "textvqa", tmp_path / "whole", tmp_path / "killed"
    before: dict[str, dict[str, Any]] = {}
    kills = 0
    while True:
        driver = start(tiny_qwen3vl, data, killed)
        goal = len(before) + rng.uniform(0.1, 0.7) * (QUESTIONS - len(before))
        while kills < repeats and driver.poll() is None:
            if len(answers(killed)) > goal:
                os.kill(driver.pid, signal.SIGKILL)
                kills += 1
            time.sleep(0.02)
        if driver.wait(timeout=900) == 0:
            break
        assert driver.returncode == -signal.SIGKILL, killed.with_suffix(".log").read_text()
        before |= answers(killed)
        print(f"killed at {len(before)} of {QUESTIONS} answers")
        deadline = time.monotonic() + 180  # Ray's own agents end at leisure
        while list(titles(driver.pid)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert not list(titles(driver.pid)), "processes outlive the killed driver"
    assert kills == repeats
    after = answers(killed)
    assert len(after) == QUESTIONS
    # An answer that was there is the very same one, its time included: nobody asked again.
    assert {uid: after[uid] for uid in before} == before
    assert start(tiny_qwen3vl, data, whole).wait(timeout=900) == 0
    undisturbed = answers(whole)
    assert list(after) == list(undisturbed)
    assert [row["response"] for row in after.values()] == [
        row["response"] for row in undisturbed.values()
    ]
    assert result(killed)["parts"] == result(whole)["parts"]
