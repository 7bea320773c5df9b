"""The whole line on real Ray, vLLM and DeepSpeed, with the smallest of everything."""

import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import Recipe, recipe_of
from rl.errors import GateError
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from tests.recipes.own_reward import spread_reward

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def recipe(model: Path, data: Path, root: Path, **changes: Any) -> Recipe:
    offline = {"from": "sft", "data": [{"stage": "pairs"}], "heldout": "pairs", "lr": 2e-5}
    spread = [{"name": spread_reward(root)}]  # the model knows nothing yet
    rl = [{"path": str(data / "rl.jsonl")}]
    stages = [
        {
            "name": "sft",
            "algorithm": "sft",
            "data": [{"path": str(data / "sft.jsonl")}],
            "lr": 3e-3,
            "steps": 60,
        },
        {
            "name": "pairs",
            "from": "sft",
            "sample": {"n": 4, "rewards": spread, "num_heldout": 4},
            "data": rl,
        },
        {"name": "dpo", "algorithm": "dpo", "steps": 2, "prompts_per_step": 8, **offline},
        {"name": "kto", "algorithm": "kto", "steps": 2, "prompts_per_step": 8, **offline},
        {
            "name": "grpo",
            "from": "best(sft, dpo, kto)",
            "algorithm": {"name": "grpo", "group_size": 4},
            "data": rl,
            "rewards": spread,
            "lr": 1e-4,
            "steps": 3,
            "prompts_per_step": 8,
        },
    ]
    benchmarks = [
        {"name": name, "path": str(data / name), "max_new_tokens": 8} for name in ("mme", "textvqa")
    ]
    page = {
        "run": {"name": "line", "root": str(root)},
        "model": {"path": str(model)},
        "rollout": {"max_new_tokens": 8, "max_model_len": 256},
        "evals": {"benchmarks": benchmarks, "gate": {"on_fail": "warn"}},
        "stages": stages,
        **changes,
    }
    return recipe_of(page)


class Scraper(threading.Thread):
    """Reads the metrics endpoint while the run goes on."""

    def __init__(self, events: Path) -> None:
        super().__init__(daemon=True)
        self.events, self.seen, self.stopped = events, set[str](), threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            if (url := self._url()) is not None:
                try:
                    text = urllib.request.urlopen(url, timeout=2).read().decode()
                except OSError:
                    text = ""
                self.seen |= {
                    line.partition("{")[0]
                    for line in text.splitlines()
                    if line.startswith("ray_plumbline_")
                }
            time.sleep(0.5)

    def _url(self) -> str | None:
        if not self.events.exists():
            return None
        for line in self.events.read_text().splitlines():
            if (event := json.loads(line))["event"] == "engines_up":
                return str(event["metrics_url"])
        return None


@pytest.fixture(scope="module")
def finished(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Path, set[str]]:
    """A finished run: its recipe, its folder, and the gauges that were scraped meanwhile."""
    root = tmp_path_factory.mktemp("runs")
    page = recipe(tiny_qwen3vl, scene_data, root)
    scraper = Scraper(root / "line" / "events.jsonl")
    scraper.start()
    Pipeline(page, Console(quiet=True)).run()
    scraper.stopped.set()
    scraper.join()
    return page, root / "line", scraper.seen


def test_every_stage_leaves_its_contract(finished: tuple[Recipe, Path, set[str]]) -> None:
    _, run, _ = finished
    store = RunStore.open(run)
    for name in ("base", "sft", "pairs", "dpo", "kto", "grpo"):
        assert store.stage(name).is_finished(), name
    for name in ("sft", "dpo", "kto", "grpo"):
        folder = store.stage(name).checkpoint()
        assert (folder / "model.safetensors").is_file()
        assert (folder / "preprocessor_config.json").exists() or (
            folder / "processor_config.json"
        ).exists()
        for benchmark in ("mme", "textvqa"):
            result = json.loads((store.evals(name, benchmark) / "result.json").read_text())
            assert result["weights"] == store.stage(name).facts()["weights"]
            assert result["comparisons"]["parent"]["select"] is not None
            assert result["contamination"] == {
                "checked": True,
                "overlap_images": 0,
                "flagged": {},
                "without": {},
            }
    for name in ("dpo", "kto"):
        assert store.stage(name).facts()["heldout"]["pairs"] == 4
    for file in ("index.html", "leaderboard.md", "leaderboard.csv", "leaderboard.json"):
        assert (run / "report" / file).stat().st_size > 0


def test_engine_and_learner_agreed_at_every_publish(
    finished: tuple[Recipe, Path, set[str]],
) -> None:
    _, run, _ = finished
    store = RunStore.open(run)
    seen = [store.stage(name).facts()["parity_max"] for name in ("sft", "dpo", "kto", "grpo")]
    seen += [
        row["parity/max"] for row in read_metrics(store.stage("grpo").metrics) if "loss" in row
    ]
    assert len(seen) == 7
    assert max(seen) <= 1e-4


def test_a_step_says_where_its_time_went(finished: tuple[Recipe, Path, set[str]]) -> None:
    _, run, _ = finished
    rows = list(read_metrics(run / "stages" / "grpo" / "metrics.jsonl"))
    wanted = {
        "time/generate_s",
        "time/reward_s",
        "time/reference_s",
        "time/update_s",
        "time/publish_s",
        "time/step_s",
        "tokens/trained",
        "tokens/forward",
        "samples/s",
        "parity/max",
        "reward/spread/mean",
        "frac_zero_std",
    }
    assert all(wanted <= set(row) for row in rows[:-1])
    assert any(row["grad_norm"] > 0 for row in rows[:-1])  # it learns
    assert rows[-1]["time/eval_s"] > 0
    assert list((run / "stages" / "grpo" / "tensorboard").iterdir())
    assert list((run / "stages" / "grpo" / "rollouts").glob("step-*.parquet"))


def test_prometheus_sees_the_run(finished: tuple[Recipe, Path, set[str]]) -> None:
    _, _, seen = finished
    assert {"ray_plumbline_loss", "ray_plumbline_time_update_s", "ray_plumbline_step"} <= seen


def test_resume_runs_what_is_not_finished_and_nothing_else(
    finished: tuple[Recipe, Path, set[str]],
) -> None:
    page, run, _ = finished
    store = RunStore.open(run)
    before = {name: store.stage(name).facts() for name in ("sft", "pairs", "dpo", "kto")}
    old = store.stage("grpo").facts()["weights"]
    store.stage("grpo").write_facts(status="running")
    Pipeline(page, Console(quiet=True), resume=True).run()
    assert {name: store.stage(name).facts() for name in before} == before
    assert store.stage("grpo").facts()["weights"] == old


@pytest.mark.parametrize("is_answered", [True, False])
def test_resume_of_a_finished_run_scores_a_missing_result_again(
    finished: tuple[Recipe, Path, set[str]], is_answered: bool
) -> None:
    page, run, _ = finished
    folder, events = run / "evals" / "dpo" / "mme", run / "events.jsonl"
    result = json.loads((folder / "result.json").read_text())
    starts = events.read_text().count('"engines_up"')
    (folder / "result.json").unlink()
    if not is_answered:
        (folder / "responses.jsonl").unlink()
    Pipeline(page, Console(quiet=True), resume=True).run()
    again = json.loads((folder / "result.json").read_text())
    assert {k: again[k] for k in ("parts", "comparisons", "gate", "weights")} == {
        k: result[k] for k in ("parts", "comparisons", "gate", "weights")
    }
    # Stored answers need no engine.
    assert events.read_text().count('"engines_up"') == starts + (not is_answered)


def test_a_failed_gate_stops_the_run_and_shows_in_the_report(
    finished: tuple[Recipe, Path, set[str]],
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
) -> None:
    page = recipe(
        tiny_qwen3vl,
        scene_data,
        tmp_path,
        evals={
            "benchmarks": [
                {"name": "mme", "path": str(scene_data / "mme"), "max_new_tokens": 8, "limit": 16}
            ],
            "gate": {"max_drop_percent": 0.0, "strict": True, "on_fail": "stop"},
        },
    )
    sft = page.stage("sft")
    # Such a rate leaves nothing of what the first stage learnt, and strict takes no "perhaps".
    ruin = {"name": "ruin", "from_": "sft", "lr": 0.5, "steps": 3, "warmup_ratio": 0.0}
    page = page.model_copy(update={"stages": (sft, sft.model_copy(update=ruin))})
    with pytest.raises(GateError, match="stage ruin"):
        Pipeline(page, Console(quiet=True)).run()
    store = RunStore.open(tmp_path / "line")
    assert store.stage("sft").is_finished()
    assert store.stage("ruin").facts()["status"] == "failed"
    assert "ruin" in (tmp_path / "line" / "report" / "leaderboard.md").read_text()
