"""Actors killed outright in the middle of their work: the step completes, or the stage goes on
from its last checkpoint; every prompt is scored exactly once a step."""

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
from tests.chaos.runs import events, page
from tests.processes import engine_cores, titles

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

PROMPTS, GROUP, SAVE_EVERY = 6, 4, 2
# What Ray calls a process while it runs one of our calls.
TITLES = {
    "reward": b"ray::RewardWorker.run",
    "rollout": b"ray::RolloutWorker.run",
    "core": b"ray::RolloutWorker.run",
    "learner": b"ray::ZeroLearner.run",
}
LOST = {"reward": "reward_worker", "rollout": "rollout_worker", "learner": "learner"}


class Killer(threading.Thread):
    """Kills each victim while it works, once its step is done: the first round at once (rollout
    workers are sampling then), later ones at a random moment.
    """

    def __init__(self, run: Path, plan: list[tuple[int, str]], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.metrics, self.plan, self.rng = run / "stages" / "grpo" / "metrics.jsonl", plan, rng
        self.killed: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        for number, (step, victim) in enumerate(self.plan):
            while not self.stopped.is_set() and self._done() < step:
                time.sleep(0.02)
            if number >= len(TITLES):
                self.stopped.wait(self.rng.uniform(0, 0.5))
            while not self.stopped.is_set() and not self._kill(victim):
                time.sleep(0.001)
            self.killed.append(victim)

    def _done(self) -> int:
        return max((row["step"] for row in read_metrics(self.metrics)), default=0)

    def _kill(self, victim: str) -> bool:
        for pid, line in titles(os.getpid()):
            if line.startswith(TITLES[victim]):
                if victim == "core":
                    [pid] = engine_cores(pid)
                os.kill(pid, signal.SIGKILL)
                return True
        return False


@pytest.mark.parametrize(
    ("engine", "victims"),
    [("in_process", ("reward", "rollout", "learner")), ("async", ("core", "rollout"))],
)
def test_lost_actors_are_replaced_and_every_prompt_is_scored_once(
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
    repeats: int,
    engine: str,
    victims: tuple[str, ...],
) -> None:
    rng = random.Random(repeats)
    order = [victim for _ in range(repeats) for victim in rng.sample(victims, len(victims))]
    # After the first checkpoint, two steps or more apart.
    plan = [(SAVE_EVERY + 1 + 2 * number, victim) for number, victim in enumerate(order)]
    steps = plan[-1][0] + 3
    recipe = page(
        tiny_qwen3vl,
        scene_data,
        tmp_path,
        "lost",
        ("grpo",),
        steps=steps,
        save_every=SAVE_EVERY,
        keep_rollouts_every=1,
    )
    limits = {"max_restarts": len(order)}
    recipe = recipe.model_copy(
        update={
            "rollout": recipe.rollout.model_copy(update={"engine": engine, **limits}),
            "learner": recipe.learner.model_copy(update=limits),
            "reward_workers": recipe.reward_workers.model_copy(update=limits),
        }
    )
    run = tmp_path / "lost"
    killer = Killer(run, plan, rng)
    killer.start()
    Pipeline(recipe, Console(quiet=True)).run()
    killer.stopped.set()
    killer.join()
    assert killer.killed == order
    told = Counter(event["event"] for event in events(run))
    killed = Counter("rollout" if victim == "core" else victim for victim in order)
    for victim, kind in LOST.items():
        assert told[f"{kind}_lost"] == told[f"{kind}_restarted"] == killed[victim], told
    in_flight = [e["requests_in_flight"] for e in events(run, "rollout_worker_lost")]
    assert in_flight[0] > 0
    assert told["stage_resumed"] == killed["learner"]
    stage = RunStore.open(run).stage("grpo")
    assert stage.is_finished()
    trained = [row["step"] for row in read_metrics(stage.metrics) if "loss" in row]
    assert trained == list(range(1, steps + 1))
    for step in trained:
        rows = read_rollouts(stage.rollouts / f"step-{step:06d}.parquet")
        answers = Counter((row["uid"], row["index"]) for row in rows)
        assert len(rows) == PROMPTS * GROUP
        assert set(answers.values()) == {1}
        assert all(row["status"] in ("ok", "truncated") for row in rows)
    print(f"{engine}: {dict(Counter(order))} killed, requests in flight {in_flight}")
