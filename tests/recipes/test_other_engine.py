"""A short run whose rollout worker is the transformers engine: training, publish, evaluation."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import recipe_of
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from tests.recipes.own_reward import spread_reward

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]


def test_sft_grpo_and_evaluation_run_on_the_transformers_engine(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    shared = {"lr": 1e-3, "steps": 2, "prompts_per_step": 8}
    stages = [
        {"name": "sft", "algorithm": "sft", "data": [{"path": str(scene_data / "sft.jsonl")}]},
        {
            "name": "grpo",
            "from": "sft",
            "algorithm": {"name": "grpo", "group_size": 4, "train_truncated": True},
            "data": [{"path": str(scene_data / "rl.jsonl")}],
            "rewards": [{"name": spread_reward(tmp_path)}],
        },
    ]
    recipe = recipe_of(
        {
            "run": {"name": "other", "root": str(tmp_path), "tensorboard": False},
            "model": {"path": str(tiny_qwen3vl)},
            "rollout": {"engine": "transformers", "max_new_tokens": 8, "max_model_len": 256},
            "evals": {
                "benchmarks": [
                    {"name": "mme", "path": str(scene_data / "mme"), "max_new_tokens": 8}
                ],
                "gate": {"on_fail": "warn"},
            },
            "stages": [stage | shared for stage in stages],
        }
    )
    Pipeline(recipe, Console(quiet=True)).run()
    store = RunStore.open(tmp_path / "other")
    for name in ("base", "sft", "grpo"):
        assert store.stage(name).is_finished(), name
        result = json.loads((store.evals(name, "mme") / "result.json").read_text())
        assert result["settings"]["backend"].startswith("transformers ")
    rows = [row for row in read_metrics(store.stage("grpo").metrics) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0 < row["parity/max"] <= 1e-5 for row in rows)
