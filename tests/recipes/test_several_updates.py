"""A GRPO stage of several updates a step, on real engines: the clip acts, and a run that ends
between two updates of a step resumes from a whole step, bit for bit.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.running.interrupt import Interrupted
from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import Recipe, recipe_of
from rl.learners.group import LearnerGroup
from rl.learners.updates import Part, Prepared
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from tests.recipes.own_reward import spread_reward
from tests.recipes.test_resume import lasting

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def recipe(model: Path, data: Path, root: Path, name: str) -> Recipe:
    """Four steps of two mini-batches, each trained on twice, and a checkpoint after the second."""
    algorithm = {"name": "grpo", "group_size": 4, "train_truncated": True}
    return recipe_of(
        {
            "run": {"name": name, "root": str(root), "tensorboard": False},
            "model": {"path": str(model)},
            "evals": {"evaluate_base": False},
            "rollout": {
                "max_new_tokens": 8,
                "max_model_len": 256,
                "engine": {"kv_cache_gib": 0.25},
            },
            "stages": [
                {
                    "name": "grpo",
                    "algorithm": algorithm,
                    "data": [{"path": str(data / "rl.jsonl")}],
                    "rewards": [{"name": spread_reward(root)}],
                    "lr": 3e-3,
                    "steps": 4,
                    "prompts_per_step": 6,
                    "updates": {"minibatches": 2, "passes": 2},
                    "save_every": 2,
                    "evaluate": False,
                }
            ],
        }
    )


@pytest.fixture(scope="module")
def undisturbed(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("updates")
    Pipeline(recipe(tiny_qwen3vl, scene_data, root, "whole"), Console(quiet=True)).run()
    return root


def test_the_clip_acts(undisturbed: Path) -> None:
    rows = list(read_metrics(RunStore.open(undisturbed / "whole").stage("grpo").metrics))
    assert [row["updates"] for row in rows] == [4] * 4
    assert all(0 < row["clip_frac"] < 1 for row in rows[:2])  # later the rate is near 0
    rates = [row["lr"] for row in rows]  # 16 updates, of which 1 warms up, then a cosine to 0
    assert rates[0] > rates[1] > rates[2] > rates[3] == 0
    # The weights of engine and learner are the same when a step samples, and w is of these.
    assert all(abs(row["mismatch/log_ratio"]) < 1e-4 for row in rows)
    assert all(row["parity/max"] < 1e-4 for row in rows)


def between_updates(
    monkeypatch: pytest.MonkeyPatch, number: int, event: Callable[[], None]
) -> None:
    """Lets `event` happen before this run's update of this number."""
    before, seen = LearnerGroup.update, [0]

    def update(self: LearnerGroup, prepared: Prepared, part: Part) -> Any:
        seen[0] += 1
        if seen[0] == number:
            event()
        return before(self, prepared, part)

    monkeypatch.setattr(LearnerGroup, "update", update)


class Crash(BaseException):
    pass


def crash() -> None:
    raise Crash


def test_a_run_that_ends_between_updates_ends_in_the_same_bits(
    undisturbed: Path, tiny_qwen3vl: Path, scene_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM before the third update of step 1: all four are made, and the step is saved. A crash
    before the third update of step 4: step 4 and step 3 are done again, from the checkpoint of 2.
    """
    page = recipe(tiny_qwen3vl, scene_data, undisturbed, "stopped")
    run = undisturbed / "stopped"
    with monkeypatch.context() as patched:
        between_updates(patched, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match="grpo is saved at step 1 of 4"):
            Pipeline(page, Console(quiet=True)).run()
    [row] = read_metrics(RunStore.open(run).stage("grpo").metrics)
    assert row["updates"] == 4
    with monkeypatch.context() as patched:
        between_updates(patched, 4 + 4 + 3, crash)
        with pytest.raises(Crash):
            Pipeline(page, Console(quiet=True), resume=True).run()
    folder = run / "stages" / "grpo" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-000001", "step-000002"]
    Pipeline(page, Console(quiet=True), resume=True).run()
    assert lasting(run, "grpo") == lasting(undisturbed / "whole", "grpo")
