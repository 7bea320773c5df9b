"""A learner killed outright while weights are served: outside of training, too, the run goes on."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from recipes.engines.training import TrainingEngines
from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import recipe_of
from rl.runs.store import RunStore
from tests.chaos.runs import events
from tests.processes import titles
from tests.recipes.own_reward import spread_reward

pytestmark = [
    pytest.mark.engine,
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


def test_a_learner_lost_while_it_serves_is_replaced(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = spread_reward(tmp_path)
    sft = {"name": "sft", "algorithm": "sft", "steps": 1, "evaluate": False}
    pairs = {"name": "pairs", "from": "base", "sample": {"n": 4, "rewards": [spread]}}
    page = recipe_of(
        {
            "run": {"name": "lost", "root": str(tmp_path), "tensorboard": False},
            "model": {"path": str(tiny_qwen3vl)},
            "rollout": {
                "max_new_tokens": 8,
                "max_model_len": 256,
                "engine": {"kv_cache_gib": 0.25},
            },
            "learner": {"max_restarts": 1},
            "stages": [
                {**sft, "data": [{"path": str(scene_data / "sft.jsonl")}]},
                {**pairs, "data": [{"path": str(scene_data / "rl.jsonl#16")}]},
            ],
        }
    )
    serve, calls = TrainingEngines.serve, list[Path]()

    def strike(self: TrainingEngines, checkpoint: Path) -> Mapping[str, float]:
        calls.append(checkpoint)
        (learner,) = [
            pid for pid, line in titles(os.getpid()) if line.startswith(b"ray::ZeroLearner")
        ]
        os.kill(learner, signal.SIGKILL)
        return serve(self, checkpoint)

    monkeypatch.setattr(TrainingEngines, "serve", strike)
    Pipeline(page, Console(quiet=True)).run()
    run = tmp_path / "lost"
    # The base model for parity, then for the sample stage.
    assert calls == [tiny_qwen3vl.resolve()] * 2
    assert len(events(run, "learner_lost")) == len(events(run, "learner_restarted")) == 2
    for name in ("base", "sft", "pairs"):
        assert RunStore.open(run).stage(name).is_finished(), name
