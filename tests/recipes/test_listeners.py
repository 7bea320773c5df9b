"""Nothing of a run on one machine can be reached from another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.runs import events, page, write
from tests.sockets import Watch, listeners

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def test_the_list_finds_open_sockets_of_both_kinds() -> None:

    with socket.create_server(("0.0.0.0", 0)), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("0.0.0.0", 0))
        found = {(f.kind, f.address) for f in listeners(os.getpid()) if not f.is_loopback}
    assert found == {("tcp", "0.0.0.0"), ("udp", "0.0.0.0")}


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, id="one process each"),
        pytest.param(
            {"rollout": {"engine": {"core": "own_process"}}, "learner": {"ranks": 2}},
            id="two ranks, an engine core of its own",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_grpo_stage_listens_on_loopback_alone(
    sections: dict[str, dict[str, Any]], tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    """Ray, gloo, torch's rendezvous and vLLM, over the whole run."""
    grpo = page(tiny_qwen3vl, scene_data, tmp_path, "listeners", ["grpo"])
    overrides = [(s, key, value) for s, keys in sections.items() for key, value in keys.items()]
    path = write(grpo, tmp_path, *overrides)
    command = [str(Path(sys.executable).parent / "plumbline"), "run", str(path)]
    with path.with_suffix(".log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
    watch = Watch(driver.pid)
    watch.start()
    try:
        assert driver.wait(timeout=500) == 0, path.with_suffix(".log").read_text()
    finally:
        driver.kill()
        watch.stopped.set()
        watch.join()
    command_line = f"Ray dashboard: plumbline dashboard {tmp_path / 'listeners'}\n"
    assert command_line in path.with_suffix(".log").read_text()
    (started,) = events(tmp_path / "listeners", "engines_up")
    assert started["dashboard_url"].startswith("http://127.0.0.1:")
    names = {found.process for found in watch.found}
    assert {"gcs_server", "raylet"} <= names, names
    assert any("ZeroLearner" in name for name in names), names
    assert [found for found in watch.found if not found.is_loopback] == []
