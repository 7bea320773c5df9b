"""The gate on real engines: stages that ruin the model, inside and at their end, and one that
stands still."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import Recipe, recipe_of
from recipes.synthetic.scenes import write_scenes
from rl.runs.checkpoint import fingerprint
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]


def recipe(model: Path, data: Path, root: Path) -> Recipe:
    rows = [{"path": str(data / "sft.jsonl")}]
    still = {"lr": 1e-9, "schedule": "constant", "warmup_ratio": 0.0}

    def stage(name: str, **keys: Any) -> dict[str, Any]:
        return {"name": name, "algorithm": "sft", "data": rows, "prompts_per_step": 8, **keys}

    return recipe_of(
        {
            "run": {"name": "gated", "root": str(root), "tensorboard": False},
            "model": {"path": str(model)},
            "rollout": {
                "max_new_tokens": 8,
                "max_model_len": 256,
                "engine": {"kv_cache_gib": 0.25},
            },
            "evals": {
                "benchmarks": [
                    {"name": name, "path": str(data / name), "max_new_tokens": 8}
                    for name in ("mme", "textvqa")
                ],
                "gate": {"on_fail": "rollback"},
            },
            "stages": [
                stage("sft", lr=3e-3, steps=60, prompts_per_step=32),
                # The rate grows until nothing is left of what was learnt.
                stage(
                    "ruin", **{"from": "sft"}, lr=1.0, steps=1000, warmup_ratio=1.0, eval_every=1
                ),
                stage(
                    "still",
                    **{"from": "ruin"},
                    **still,
                    steps=50,
                    eval_every=1,
                    early_stop={"patience": 2},
                ),
                stage("lost", **{"from": "sft"}, lr=50.0, steps=3, schedule="constant"),
                stage("child", **{"from": "lost"}, **still, steps=1),
            ],
        }
    )


@pytest.fixture(scope="module")
def finished(tiny_qwen3vl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("scenes")
    write_scenes(data, seed=0, sft=128, rl=8, select=80, report=8)
    root = tmp_path_factory.mktemp("runs")
    summary = root / "summary.md"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GITHUB_STEP_SUMMARY", str(summary))
        Pipeline(recipe(tiny_qwen3vl, data, root), Console(quiet=True)).run()
    assert summary.read_text() == (root / "gated" / "report" / "gate.md").read_text()
    return root / "gated"


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_stage_that_fails_inside_goes_back_to_its_last_good_step(finished: Path) -> None:
    store = RunStore.open(finished).stage("ruin")
    seen = {
        row["step"]: row["eval/gate"] for row in read_metrics(store.metrics) if "eval/gate" in row
    }
    steps = sorted(seen)
    assert [seen[step] == 2 for step in steps] == [False] * (len(steps) - 1) + [True]
    assert len(steps) >= 2
    facts = store.facts()
    assert facts["ended"]["kind"] == "gate"
    assert facts["ended"]["planned"] == 1000
    assert facts["steps"] == steps[-1]
    assert store.checkpoint().name == f"step-{steps[-2]:06d}"
    assert facts["weights"] == fingerprint(store.checkpoint())
    assert facts["rolled_back_to"] is None
    told = [event for event in events(finished, "gate_failed") if event["stage"] == "ruin"]
    assert [event["step"] for event in told] == [steps[-1]]
    assert {"stage": "ruin", "to": store.checkpoint().name}.items() <= events(
        finished, "rolled_back"
    )[0].items()


def test_a_stage_that_stands_still_ends_early(finished: Path) -> None:
    store = RunStore.open(finished).stage("still")
    facts = store.facts()
    assert facts["parent"] == "ruin"
    assert facts["ended"]["kind"] == "early_stop"
    assert facts["steps"] == 3
    assert store.checkpoint().name == "step-000003"


def test_a_stage_that_fails_at_its_end_is_rolled_back(finished: Path) -> None:
    run = RunStore.open(finished)
    facts = run.stage("lost").facts()
    assert facts["rolled_back_to"] == "sft"
    assert "points (2 % of the maximum 800) is shown" in facts["rolled_back_why"]
    child = run.stage("child").facts()
    assert child["parent"] == "sft"
    assert child["from"] == "lost"
    result = json.loads((run.evals("child", "mme") / "result.json").read_text())
    assert result["gate"]["verdict"] in ("pass", "warn")
    assert result["parent_stage"] == "sft"


def test_the_report_says_so(finished: Path) -> None:
    board = (finished / "report" / "leaderboard.md").read_text()
    assert "failed the gate and was rolled back: sft stands for it" in board
    gate = (finished / "report" / "gate.md").read_text()
    assert "fail\n" in gate.splitlines(keepends=True)[0]
    assert "**lost** was rolled back: later stages start from sft" in gate
    assert "**still** ended early: no improvement of the select parts in 2 evaluations" in gate
