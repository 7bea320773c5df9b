"""An algorithm of a user's own file brings its own reading of rows, rate, column and arrangement of
a step: nothing of it is known outside that file, and a recipe runs it on real engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recipes.schema.recipe import Recipe, load_recipe
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore

OWN = '''
"""Likelihood of each answer, weighed by the row's own score and by its rank within the step."""

from typing import Any, ClassVar

from rl.algorithms.base import Algorithm, Denominators, Loss, Needs, divide_by, mean_metric
from rl.batch import TreeBatch


class Weighed(Algorithm):
    """Best rows first: the weight of an answer is its score over its rank."""

    name: ClassVar[str] = "weighed"
    default_lr: ClassVar[float] = 3e-4
    own_metrics: ClassVar[Any] = {
        "weighed/score": "Mean score of the step's rows.",
        "weighed/best": "Score of the row of rank 1.",
    }

    @property
    def needs(self) -> Needs:
        return Needs("demonstration", columns=("score",))

    def make_tree(self, renderer: Any, record: Any) -> Any:
        tree = renderer.make_tree("demonstration", record)
        return tree.with_column("score", [float(record.meta["score"])])

    def arrange(self, trees: Any) -> Any:
        ranked = sorted(trees, key=lambda tree: -tree.branches[0].columns["score"])
        return [tree.with_column("rank", [float(i + 1)]) for i, tree in enumerate(ranked)]

    def data_warning(self, records: Any) -> str:
        return f"{len(records)} rows with scores"

    def loss(self, batch: TreeBatch, denominators: Denominators) -> Loss:
        score_B, rank_B = batch.column("score"), batch.column("rank")
        loss_B = -batch.sum_by_branch(batch.policy_logp_N) * score_B / rank_B
        metrics = {
            "weighed/score": mean_metric(score_B),
            "weighed/best": mean_metric(score_B[rank_B == 1]),
        }
        return Loss(divide_by(loss_B.sum(), denominators.branches), metrics)
'''


def page(model: Path, data: Path, folder: Path) -> Recipe:
    """One stage of the own algorithm: 8 rows with scores 0 to 7, two steps of 8 rows."""
    (folder / "weighed.py").write_text(OWN)
    rows = [json.loads(line) for line in (data / "sft.jsonl").read_text().splitlines()[:8]]
    for number, row in enumerate(rows):
        row["score"], row["images"] = number, [str(data / path) for path in row["images"]]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stage = {
        "name": "own",
        "algorithm": f"{folder / 'weighed.py'}:Weighed",
        "data": [{"path": str(folder / "rows.jsonl")}],
        "prompts_per_step": 8,
        "steps": 2,
        "schedule": "constant",
        "warmup_ratio": 0.0,
    }
    written = {
        "run": {"name": "run", "root": str(folder), "tensorboard": False},
        "model": {"path": str(model)},
        "rollout": {
            "max_new_tokens": 8,
            "max_model_len": 256,
            "engine": {"kv_cache_gib": 0.25},
        },
        "stages": [stage],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(written))
    return load_recipe(folder / "recipe.yaml")


def test_the_file_declares_what_the_stage_takes(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    stage = page(tiny_qwen3vl, scene_data, tmp_path).stage("own")
    assert stage.peak_lr == 3e-4
    assert stage.reading == "demonstration"
    assert not stage.is_online


def test_an_undeclared_column_is_refused_before_an_engine_starts(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rl.errors import ConfigError

    undeclared = OWN.replace(', columns=("score",)', "")
    monkeypatch.setattr("tests.recipes.test_own_algorithm.OWN", undeclared)
    with pytest.raises(ConfigError, match=r"KeyError: 'score'"):
        page(tiny_qwen3vl, scene_data, tmp_path)


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_a_recipe_runs_it(tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path) -> None:
    from recipes.running.pipeline import Pipeline

    recipe = page(tiny_qwen3vl, scene_data, tmp_path)
    with (tmp_path / "console.txt").open("w") as file:
        Pipeline(recipe, Console(file=file, width=200)).run()
    store = RunStore.open(tmp_path / "run").stage("own")
    steps = [row for row in read_metrics(store.metrics) if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2]
    assert [row["weighed/score"] for row in steps] == [3.5, 3.5]
    assert [row["weighed/best"] for row in steps] == [7.0, 7.0]
    assert [row["lr"] for row in steps] == [3e-4, 3e-4]
    assert steps[1]["loss"] < steps[0]["loss"]
    assert store.facts()["own_metrics"]["weighed/best"] == "Score of the row of rank 1."
    assert "8 rows with scores" in (tmp_path / "console.txt").read_text()
