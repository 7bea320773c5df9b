import os
from pathlib import Path

import pytest

from rl.errors import ConfigError, NoRunError, RunError
from rl.runs.store import RunStore


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path / "runs" / "a", config_yaml="run: {}\n", facts={"seed": 3})
    store.event("started", stage="sft")
    store.stage("sft").write_facts(status="running", parent="base")
    store.stage("sft").write_facts(
        status="finished", checkpoint="stages/sft/checkpoints/step-000001"
    )
    again = RunStore.open(tmp_path / "runs" / "a")
    assert again.stage("sft").is_finished()
    assert again.stage("sft").facts()["parent"] == "base"
    assert again.stage("sft").checkpoint().name == "step-000001"
    assert not again.stage("dpo").is_finished()
    with pytest.raises(RunError, match="no checkpoint"):
        again.stage("dpo").checkpoint()


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(NoRunError, match="no run here"):
        RunStore.open(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        RunStore.create(blocked / "run", config_yaml="", facts={})
    assert os.listdir(tmp_path) == ["file"]
