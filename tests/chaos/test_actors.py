"""Actors killed outright in the middle of their work: the step completes, or the stage goes on
from its last checkpoint; every prompt is scored exactly once a step."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from recipes.pipeline import Pipeline
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from rollouts.collect import read_rollouts
from tests.chaos.processes import titles
from tests.recipes.test_resume import recipe

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

STEPS, PROMPTS, GROUP = 9, 6, 4
# What Ray calls a process while it runs one of our calls.
VICTIMS = {
    "reward": b"ray::RewardWorker.run",
    "rollout": b"ray::RolloutWorker.run",
    "learner": b"ray::ZeroLearner.run",
}


class Killer(threading.Thread):
    """Kills each victim, while it works, once its step is done."""

    def __init__(self, run: Path, plan: list[tuple[int, str]]) -> None:
        super().__init__(daemon=True)
        self.metrics, self.plan = run / "stages" / "grpo" / "metrics.jsonl", plan
        self.killed: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        for step, victim in self.plan:
            while not self.stopped.is_set() and self._done() < step:
                time.sleep(0.02)
            while not self.stopped.is_set() and not self._kill(VICTIMS[victim]):
                time.sleep(0.001)
            self.killed.append(victim)

    def _done(self) -> int:
        return max((row["step"] for row in read_metrics(self.metrics)), default=0)

    def _kill(self, title: bytes) -> bool:
        for pid, line in titles(os.getpid()):
            if line.startswith(title):
                os.kill(pid, signal.SIGKILL)
                return True
        return False


def test_lost_actors_are_replaced_and_every_prompt_is_scored_once(
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
    repeats: int,
) -> None:
    rng = random.Random(repeats)
    for number in range(repeats):
        name = f"lost-{number}"
        page = recipe(tiny_qwen3vl, scene_data, tmp_path, name, steps=STEPS, keep_rollouts_every=1)
        grpo = page.stage("grpo").model_copy(update={"from_": "base"})
        page = page.model_copy(update={"stages": (grpo,)})
        run = tmp_path / name
        order = rng.sample(sorted(VICTIMS), 3)
        killer = Killer(run, list(zip((1, 3, 5), order, strict=True)))
        killer.start()
        Pipeline(page, Console(quiet=True)).run()
        killer.stopped.set()
        killer.join()
        assert killer.killed == order
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        told = Counter(event["event"] for event in events)
        for kind in ("reward_worker", "rollout_worker", "learner"):
            assert told[f"{kind}_lost"] == told[f"{kind}_restarted"] == 1, told
        [lost] = [event for event in events if event["event"] == "rollout_worker_lost"]
        assert lost["requests_in_flight"] > 0
        # Killed after the first step, before a checkpoint, the stage begins again.
        assert told["stage_resumed"] == (order[0] != "learner")
        stage = RunStore.open(run).stage("grpo")
        assert stage.is_finished()
        trained = [row["step"] for row in read_metrics(stage.metrics) if "loss" in row]
        assert trained == list(range(1, STEPS + 1))
        for step in trained:
            rows = read_rollouts(stage.rollouts / f"step-{step:06d}.parquet")
            answers = Counter((row["uid"], row["index"]) for row in rows)
            assert len(rows) == PROMPTS * GROUP
            assert set(answers.values()) == {1}
            assert all(row["status"] in ("ok", "truncated") for row in rows)
