"""An evaluation killed outright, again and again: every question is answered once, and the score is
that of the undisturbed run. The same with real engines: tests/chaos/test_evaluation.py.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.scoring.results import ResultOptions, write_result
from tests.evals.conftest import mme_rows, write_parquet

ROOT = Path(__file__).resolve().parents[3]


def start(*paths: Path) -> subprocess.Popen[bytes]:
    child = Path(__file__).with_name("killed_child.py")
    return subprocess.Popen(
        [sys.executable, str(child), *map(str, paths)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_killed_again_and_again(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "mme" / "report.parquet", mme_rows(0, 300)).parent
    whole, killed = tmp_path / "whole/evals/base/mme", tmp_path / "killed/evals/base/mme"
    assert start(data, whole, tmp_path / "whole.txt").wait(timeout=120) == 0
    told, kills = tmp_path / "killed.txt", 0
    while True:
        asked = len(told.read_bytes().splitlines()) if told.exists() else 0
        child = start(data, killed, told)
        while kills < 3 and child.poll() is None:
            if told.exists() and len(told.read_bytes().splitlines()) > asked + 120:
                child.kill()
                kills += 1
            time.sleep(0.005)
        if child.wait(timeout=120) == 0:
            break
    assert kills == 3
    rows = [
        [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]
        for folder in (whole, killed)
    ]
    assert [row["sample_id"] for row in rows[0]] == [row["sample_id"] for row in rows[1]]
    assert [row["response"] for row in rows[0]] == [row["response"] for row in rows[1]]
    # Only the question that was under way when the blow fell is asked again.
    times = Counter(told.read_text().splitlines())
    assert len(times) == 600
    assert sum(times.values()) <= 600 + kills
    results = [
        write_result(folder, get_benchmark("mme"), ResultOptions(stage="base", gate=GateConfig()))
        for folder in (whole, killed)
    ]
    assert results[0]["parts"] == results[1]["parts"]
