"""A stage that goes on: metrics of lost steps go, what they cost stays."""

import json
from pathlib import Path

from recipes.running.steps import go_back
from rl.runs.metrics import JsonlSink, read_metrics
from rl.runs.store import RunStore


def events(run: RunStore) -> list[dict]:
    path = run.root / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_lost_steps_cost_is_kept(tmp_path: Path) -> None:
    run = RunStore.create(tmp_path / "run", config_yaml="", facts={})
    stage = run.stage("grpo")
    stage.write_facts(kind="train")
    sink = JsonlSink(stage.metrics)
    for step in range(1, 8):
        sink.write(step, {"time/step_s": 2.0, "tokens/generated": 50.0, "reward": 0.5})
    sink.write(7, {"eval/select": 0.4})
    sink.close()
    go_back(run, "grpo", 7)
    assert events(run) == []
    go_back(run, "grpo", 4)
    (told,) = events(run)
    told.pop("time")
    assert told == {
        "event": "steps_redone",
        "stage": "grpo",
        "after": 4,
        "steps": 3,
        "time/step_s": 6.0,
        "tokens/generated": 150.0,
    }
    assert [row["step"] for row in read_metrics(stage.metrics)] == [1, 2, 3, 4]
