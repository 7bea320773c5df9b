"""Stopping and resuming, on real engines: k + k steps are 2 k steps, bit for bit."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.running.interrupt import Interrupted
from recipes.running.pipeline import Pipeline
from recipes.running.train import StageTrainer
from recipes.schema.recipe import Recipe, recipe_of
from rl.errors import ConfigError
from rl.runs.checkpoint import STATE, fingerprint
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from tests.recipes.own_reward import spread_reward

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

# The clock's, and what follows from how often this process published: each publish draws its
# own probes.
OWN = ("time/", "samples/s", "version", "parity/")
STAGES = ("sft", "dpo", "kto", "grpo")


def recipe(model: Path, data: Path, root: Path, name: str, **stage: Any) -> Recipe:
    """Four stages of four steps from files, a checkpoint every two."""
    spread = spread_reward(root)
    write_preferences(data, root)
    steps = {"steps": 4, "prompts_per_step": 6, "save_every": 2, "evaluate": False, **stage}
    offline = {"from": "sft", "lr": 1e-3, **steps}
    return recipe_of(
        {
            "run": {"name": name, "root": str(root), "tensorboard": False},
            "model": {"path": str(model)},
            "evals": {
                "benchmarks": [
                    {
                        "name": str(write_graded(data, root, spread)),
                        "max_new_tokens": 8,
                        "temperature": 1.0,
                        "limit": 16,
                    }
                ],
                "evaluate_base": False,
            },
            "rollout": {
                "max_new_tokens": 8,
                "max_model_len": 256,
                "engine": {"kv_cache_gib": 0.25},
            },
            "stages": [
                {
                    "name": "sft",
                    "algorithm": "sft",
                    "data": [{"path": str(data / "sft.jsonl")}],
                    "lr": 3e-3,
                    "eval_every": 1,
                    "keep_best": True,
                    **steps,
                },
                {
                    "name": "dpo",
                    "algorithm": "dpo",
                    "data": [{"path": str(root / "pairs.jsonl")}],
                    **offline,
                },
                {
                    "name": "kto",
                    "algorithm": "kto",
                    "data": [{"path": str(root / "labelled.jsonl")}],
                    **offline,
                },
                {
                    "name": "grpo",
                    # A model this young ends no answer by itself.
                    "algorithm": {
                        "name": "grpo",
                        "group_size": 4,
                        "kl_coef": 0.02,
                        "train_truncated": True,
                    },
                    "data": [{"path": str(data / "rl.jsonl")}],
                    "rewards": [{"name": spread}],
                    "eval_every": 2,
                    **offline,
                },
            ],
        }
    )


def write_graded(data: Path, root: Path, scorer: str) -> Path:
    """A benchmark's page on which a model that knows nothing yet has scores that differ."""
    page = root / "graded.yaml"
    columns = {"question": "question", "answer": "answers", "images": ["image"]}
    found = {"name": "graded", "data": str(data / "textvqa"), "columns": columns, "scorer": scorer}
    page.write_text(json.dumps(found))
    return page


def write_preferences(data: Path, root: Path) -> None:
    """pairs.jsonl and labelled.jsonl from the prompts of rl.jsonl."""
    pairs, labelled = [], []
    for line in (data / "rl.jsonl").read_text().splitlines():
        row = json.loads(line)
        row["images"] = [str(data / path) for path in row["images"]]
        good, bad = row.pop("solution"), "no idea"
        pairs.append({**row, "chosen": good, "rejected": bad})
        labelled.append({**row, "answer": good, "label": True})
        labelled.append({**row, "id": row["id"] + "-", "answer": bad, "label": False})
    for name, rows in (("pairs", pairs), ("labelled", labelled)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def lasting(run: Path, stage: str) -> tuple[str, list[dict[str, Any]]]:
    """A stage's weights and the metrics that no clock and no count of this process is in."""
    store = RunStore.open(run).stage(stage)
    rows = [
        {k: v for k, v in row.items() if not k.startswith(OWN)}
        for row in read_metrics(store.metrics)
    ]
    return str(store.facts()["weights"]), rows


def assert_learning(run: Path, stage: str) -> None:
    """Some updates of the stage moved the weights: nothing else is worth resuming."""
    rows = read_metrics(RunStore.open(run).stage(stage).metrics)
    assert any(row.get("grad_norm", 0) > 0 and row["lr"] > 0 for row in rows), stage


@pytest.fixture(scope="module")
def undisturbed(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("resume")
    page = recipe(tiny_qwen3vl, scene_data, root, "whole")
    Pipeline(page, Console(quiet=True)).run()
    for stage in STAGES:
        assert_learning(root / "whole", stage)
    return root


def stop_at(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    """A real SIGTERM to this process when `stage` has done `step`."""
    before = StageTrainer._on_step

    def on_step(self: StageTrainer, done: int, values: dict[str, float], **parts: Any) -> None:
        if (self.stage.name, done) == (stage, step):
            os.kill(os.getpid(), signal.SIGTERM)
        before(self, done, values, **parts)

    monkeypatch.setattr(StageTrainer, "_on_step", on_step)


def test_a_run_stopped_in_every_stage_ends_in_the_same_bits(
    undisturbed: Path, tiny_qwen3vl: Path, scene_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = recipe(tiny_qwen3vl, scene_data, undisturbed, "stopped")
    run = undisturbed / "stopped"
    for stage, step in (("sft", 1), ("dpo", 3), ("kto", 2), ("grpo", 3)):
        with monkeypatch.context() as patched:
            stop_at(patched, stage, step)
            with pytest.raises(Interrupted, match=f"{stage} is saved at step {step} of 4") as told:
                Pipeline(page, Console(quiet=True), resume=run.exists()).run()
        assert told.value.exit_code == 0
        assert RunStore.open(run).stage(stage).facts()["status"] == "running"
    Pipeline(page, Console(quiet=True), resume=True).run()
    for stage in STAGES:
        assert lasting(run, stage) == lasting(undisturbed / "whole", stage), stage
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    resumed = [(e["stage"], e["step"]) for e in events if e["event"] == "stage_resumed"]
    assert resumed == [("sft", 1), ("dpo", 3), ("kto", 2), ("grpo", 3)]
    assert sum(e["event"] == "run_stopped" for e in events) == 4


def stop_in(monkeypatch: pytest.MonkeyPatch, method: str, stage: str, turn: int = 1) -> None:
    """A real SIGTERM as `stage` begins this method of its trainer for the `turn`-th time."""
    before, turns = getattr(StageTrainer, method), [0]

    def patched(self: StageTrainer, *args: Any) -> Any:
        turns[0] += self.stage.name == stage
        if (self.stage.name, turns[0]) == (stage, turn):
            os.kill(os.getpid(), signal.SIGTERM)
        return before(self, *args)

    monkeypatch.setattr(StageTrainer, method, patched)


@pytest.mark.slow
def test_a_run_stopped_beside_its_steps_ends_in_the_same_bits(
    undisturbed: Path, tiny_qwen3vl: Path, scene_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In evaluations inside a stage, after its last step, and between its last publish and its end,
    with nothing kept that need not be."""
    page = recipe(tiny_qwen3vl, scene_data, undisturbed, "beside", keep_last=1)
    run = undisturbed / "beside"
    stops = [
        (lambda patched: stop_in(patched, "_select", "sft", turn=2), "sft", 2),
        (lambda patched: stop_at(patched, "dpo", 4), "dpo", 4),
        (lambda patched: stop_in(patched, "_chosen", "kto"), "kto", 2),
        (lambda patched: stop_in(patched, "_select", "grpo"), "grpo", 2),
    ]
    for arm, *_ in stops:
        with monkeypatch.context() as patched:
            arm(patched)
            with pytest.raises(Interrupted) as told:
                Pipeline(page, Console(quiet=True), resume=run.exists()).run()
        assert told.value.exit_code == 0
    Pipeline(page, Console(quiet=True), resume=True).run()
    for stage in STAGES:
        assert lasting(run, stage) == lasting(undisturbed / "whole", stage), stage
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    resumed = [(e["stage"], e["step"]) for e in events if e["event"] == "stage_resumed"]
    assert resumed == [(stage, step) for _, stage, step in stops]
    assert sum(e["event"] == "run_stopped" for e in events) == len(stops)
    assert not any(e["event"] == "stage_restarted" for e in events)
    for stage in STAGES[1:]:
        (last,) = (run / "stages" / stage / "checkpoints").iterdir()
        assert last.name == "step-000004"
        assert not (last / STATE).exists()


def test_the_best_checkpoint_is_kept_and_goes_on(undisturbed: Path) -> None:
    store = RunStore.open(undisturbed / "whole").stage("sft")
    rows = [row for row in read_metrics(store.metrics) if "eval/select" in row]
    scores = {row["step"]: row["eval/select"] for row in rows}
    assert len(scores) == 4
    assert len(set(scores.values())) > 1
    best = max(scores, key=lambda step: (scores[step], -step))
    assert store.facts()["checkpoint"].endswith(f"step-{best:06d}")
    kept = {path.name for path in store.checkpoints.iterdir()}
    assert kept == {"step-000003", "step-000004", f"step-{best:06d}"}
    assert store.facts()["weights"] == fingerprint(store.checkpoint())


def test_the_newest_checkpoints_are_kept_and_the_last_is_plain(undisturbed: Path) -> None:
    for stage in STAGES[1:]:
        folder = undisturbed / "whole" / "stages" / stage
        kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
        assert kept == ["step-000002", "step-000004"]
        assert (folder / "latest").read_text() == "step-000004"
        assert (folder / "checkpoints" / "step-000002" / STATE).is_dir()
        assert not (folder / "checkpoints" / "step-000004" / STATE).exists()


def test_a_changed_page_is_refused_unless_said(
    undisturbed: Path, tiny_qwen3vl: Path, scene_data: Path
) -> None:
    changed = recipe(tiny_qwen3vl, scene_data, undisturbed, "whole", keep_last=1)
    with pytest.raises(ConfigError, match=r"stages\.sft\.keep_last: 2 -> 1.*--accept-changes"):
        Pipeline(changed, Console(quiet=True), resume=True).run()
    Pipeline(changed, Console(quiet=True), resume=True, accept_changes=True).run()
    events = (undisturbed / "whole" / "events.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in events if "recipe_changed" in line]
    assert "stages.sft.keep_last: 2 -> 1" in told[0]["changes"]
