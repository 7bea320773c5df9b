import json
from pathlib import Path

import pytest

from rl.errors import RunError
from rl.runs.metrics import (
    JsonlSink,
    Metrics,
    TensorboardSink,
    describe,
    keep_steps,
    read_metrics,
    spent,
)


def test_undeclared_keys_are_refused(tmp_path: Path) -> None:
    metrics = Metrics([JsonlSink(tmp_path / "metrics.jsonl")])
    with pytest.raises(RunError, match="made_up"):
        metrics.write(1, {"loss": 1.0, "made_up": 2.0})


def test_star_keys_are_described() -> None:
    assert describe("reward/exact/mean")
    assert describe("reward/exact/other") is None


def test_jsonl_and_tensorboard_take_the_same_step(tmp_path: Path) -> None:
    metrics = Metrics([JsonlSink(tmp_path / "metrics.jsonl"), TensorboardSink(tmp_path / "tb")])
    metrics.write(1, {"loss": 1.5, "grad_norm": float("nan")})
    metrics.close()
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == [
        {"step": 1, "loss": 1.5, "grad_norm": None}
    ]
    assert list((tmp_path / "tb").iterdir())


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1]


def test_keep_steps_drops_what_a_resumed_stage_writes_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert keep_steps(path, 3) == []  # nothing there yet
    sink = JsonlSink(path)
    for step in range(1, 6):
        sink.write(step, {"loss": float(step), "time/step_s": 0.5, "tokens/forward": 100.0})
    sink.close()
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # torn
    redone = keep_steps(path, 3)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    assert [row["step"] for row in redone] == [4, 5]
    assert spent(redone) == {"time/step_s": 1.0, "tokens/forward": 200.0}
