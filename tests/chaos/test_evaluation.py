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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.synthetic.scenes import write_scenes
from tests.processes import titles

pytestmark = [
    pytest.mark.engine,
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

QUESTIONS = 2000
LETTERS = "eaotsc"
PAGE = """name: letters
data: letters
columns: {question: question, answer: letter, images: [image]}
prompt: "{question}"
scorer: ocr_contains
max_new_tokens: 4
"""
SETTINGS = [
    "rollout.max_model_len=256",
    "rollout.engine.kv_cache_gib=0.25",
    "runtime.dashboard=false",
]


def start(model: Path, page: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "plumbline"), "eval", str(model), "--resume"]
    command += ["--benchmark", str(page), "-n", "2", "--temperature", "1", "--out", str(out)]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    log = out.with_suffix(".log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def write_letters(folder: Path) -> Path:
    """A benchmark that a model of random weights answers right about every second time, each
    question otherwise: sampled answers, right where a letter stands in them. Its page.
    """
    write_scenes(folder, seed=0, sft=1, rl=1, select=667, report=QUESTIONS - 667)
    for file in sorted((folder / "textvqa").glob("*.parquet")):
        rows = pq.read_table(file, columns=["image", "question"])
        letters = [LETTERS[number % len(LETTERS)] for number in range(len(rows))]
        (folder / "letters").mkdir(exist_ok=True)
        pq.write_table(
            rows.append_column("letter", pa.array(letters)), folder / "letters" / file.name
        )
    page = folder / "letters.yaml"
    page.write_text(PAGE)
    return page


def texts(found: dict[str, dict[str, Any]]) -> list[str]:
    return [one["response"] for row in found.values() for one in row["samples"]]


def answers(out: Path) -> dict[str, dict[str, Any]]:
    """The whole rows that are on disk, by question."""
    file = out / "evals/base/letters/responses.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    rows = [json.loads(line) for line in lines]
    assert len({row["sample_id"] for row in rows}) == len(rows)
    return {row["sample_id"]: row for row in rows}


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evals/base/letters/result.json").read_text())
    return found


def test_a_killed_evaluation_asks_nothing_twice_and_scores_the_same(
    tiny_qwen3vl: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    page, whole, killed = write_letters(tmp_path), tmp_path / "whole", tmp_path / "killed"
    before: dict[str, dict[str, Any]] = {}
    kills = 0
    while True:
        driver = start(tiny_qwen3vl, page, killed)
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
    assert start(tiny_qwen3vl, page, whole).wait(timeout=900) == 0
    undisturbed = answers(whole)
    assert list(after) == list(undisturbed)
    assert texts(after) == texts(undisturbed)
    assert len(set(texts(after))) > QUESTIONS  # answers that could be told apart
    parts = result(killed)["parts"]
    assert parts == result(whole)["parts"]
    assert all(0.1 < part["value"] < 0.9 for part in parts.values())
