"""Actors killed outright in the middle of their work: the step completes, or the stage goes on
from its last checkpoint; every prompt is scored exactly once a step."""

import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import Recipe
from rl.runs.metrics import read_metrics
from rl.runs.store import RunStore
from rollouts.collect import read_rollouts
from rollouts.engines.vllm_settings import Vllm
from tests.chaos.runs import events, page
from tests.processes import engine_cores, titles
from tests.recipes.test_resume import assert_learning

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.timeout(6000)]

PROMPTS, GROUP, SAVE_EVERY = 6, 4, 2
# What Ray calls a process while it runs one of our calls.
TITLES = {
    "reward": b"ray::RewardWorker.run",
    "rollout": b"ray::RolloutWorker.run",
    "core": b"ray::RolloutWorker.run",
    "learner": b"ray::ZeroLearner.run",
}
SAMPLES = ("rollout", "core")
LOST = {
    "reward": "reward_worker_lost",
    "rollout": "rollout_worker_lost",
    "learner": "learner_lost",
}


class Killer(threading.Thread):
    """Kills each victim at a random moment of its work, two steps or more apart. One that samples
    counts once requests were in flight, as the run itself tells; else it is killed once more.
    """

    def __init__(self, run: Path, victims: Sequence[str], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.run_folder, self.victims, self.rng = run, deque(victims), rng
        self.metrics = run / "stages" / "grpo" / "metrics.jsonl"
        self.killed: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        step = SAVE_EVERY  # after the first checkpoint
        while self.victims:
            victim = self.victims[0]
            self._wait(lambda at=step: self._done() > at)  # type: ignore[misc]
            self.stopped.wait(self.rng.uniform(0, 0.2))
            self._wait(lambda name=victim: self._kill(name))  # type: ignore[misc]
            if self.stopped.is_set():
                return
            self.killed.append(victim)
            self._wait(lambda: len(self._losses()) == len(self.killed))
            if victim not in SAMPLES or self._losses()[-1]["requests_in_flight"] > 0:
                self.victims.popleft()
            step = self._done() + 1

    def _wait(self, is_done: Callable[[], bool]) -> None:
        while not self.stopped.is_set() and not is_done():
            time.sleep(0.001)

    def _losses(self) -> list[dict[str, Any]]:
        return [event for event in events(self.run_folder) if event["event"] in LOST.values()]

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
    [
        ("in_process", ("reward", "rollout", "learner")),
        pytest.param("own_process", ("core", "rollout"), marks=pytest.mark.slow),
    ],
)
def test_lost_actors_are_replaced_and_every_prompt_is_scored_once(
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
    repeats: int,
    rng: random.Random,
    engine: str,
    victims: tuple[str, ...],
) -> None:
    order = [victim for _ in range(repeats) for victim in rng.sample(victims, len(victims))]
    # Two steps for each kill, and as many for those that found nothing in flight.
    steps = SAVE_EVERY + 4 * len(order) + 3
    recipe = written(tiny_qwen3vl, scene_data, tmp_path, "lost", steps, engine)
    run = tmp_path / "lost"
    killer = Killer(run, order, rng)
    killer.start()
    Pipeline(recipe, Console(quiet=True)).run()
    killer.stopped.set()
    killer.join()
    assert not killer.victims, f"the run ended before {list(killer.victims)} were killed"
    told = Counter(event["event"] for event in events(run))
    killed = Counter("rollout" if victim in SAMPLES else victim for victim in killer.killed)
    for victim, lost in LOST.items():
        restarted = lost.replace("lost", "restarted")
        assert told[lost] == told[restarted] == killed[victim], told
    losses = events(run, "rollout_worker_lost")
    again = [event["requests_asked_again"] for event in events(run, "rollout_worker_restarted")]
    in_flight = [event["requests_in_flight"] for event in losses]
    assert again == in_flight
    assert sum(count > 0 for count in in_flight) >= repeats * len({*victims} & {*SAMPLES})
    assert all(
        event["rollouts_scored_again"] > 0 for event in events(run, "reward_worker_restarted")
    )
    assert all(
        event["stage"] == "grpo" and 1 <= event["step"] <= steps
        for event in events(run)
        if event["event"] in LOST.values()
    )
    assert told["stage_resumed"] == killed["learner"]
    stage = RunStore.open(run).stage("grpo")
    assert stage.is_finished()
    assert_learning(run, "grpo")
    trained = [row["step"] for row in read_metrics(stage.metrics) if "loss" in row]
    assert trained == list(range(1, steps + 1))
    for step in trained:
        rows = read_rollouts(stage.rollouts / f"step-{step:06d}.parquet")
        answers = Counter((row["uid"], row["index"]) for row in rows)
        assert len(rows) == PROMPTS * GROUP
        assert set(answers.values()) == {1}
        assert all(row["status"] in ("ok", "truncated") for row in rows)
    print(f"{engine}: {dict(Counter(killer.killed))} killed, requests in flight {in_flight}")
    if engine == "in_process":
        # Until that step no batch had another shape: its answers are the undisturbed run's.
        until = losses[0]["step"]
        whole = written(tiny_qwen3vl, scene_data, tmp_path, "whole", until, engine)
        Pipeline(whole, Console(quiet=True)).run()
        for step in range(1, until + 1):
            name = f"stages/grpo/rollouts/step-{step:06d}.parquet"
            assert _answers(run / name) == _answers(tmp_path / "whole" / name), step
        print(f"{engine}: the answers of steps 1 to {until} are those of an undisturbed run")


def test_all_ranks_start_anew_where_one_of_two_is_lost(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path, repeats: int, rng: random.Random
) -> None:
    """ZeRO 3: the other rank waits in a collective, or sees the connection end."""
    steps = SAVE_EVERY + 2 * repeats + 3
    recipe = written(tiny_qwen3vl, scene_data, tmp_path, "ranks", steps, "in_process")
    learner = recipe.learner.model_copy(update={"ranks": 2, "zero": 3})
    run = tmp_path / "ranks"
    killer = Killer(run, ["learner"] * repeats, rng)
    killer.start()
    Pipeline(recipe.model_copy(update={"learner": learner}), Console(quiet=True)).run()
    killer.stopped.set()
    killer.join()
    assert not killer.victims, f"the run ended after {len(killer.killed)} kills"
    assert all(set(e["ranks"]) <= {"learner-0", "learner-1"} for e in events(run, "learner_lost"))
    restarted = [event["ranks"] for event in events(run, "learner_restarted")]
    assert restarted == [["learner-0", "learner-1"]] * repeats
    assert len(events(run, "stage_resumed")) == repeats
    stage = RunStore.open(run).stage("grpo")
    trained = [row["step"] for row in read_metrics(stage.metrics) if "loss" in row]
    assert stage.is_finished()
    assert trained == list(range(1, steps + 1))


def written(model: Path, data: Path, root: Path, name: str, steps: int, engine: str) -> Recipe:
    """A run of `grpo` that keeps every rollout and may replace one lost actor a step."""
    found = page(model, data, root, name, ("grpo",), steps=steps, save_every=SAVE_EVERY)
    limits = {"max_restarts": steps}
    return found.model_copy(
        update={
            "rollout": found.rollout.model_copy(update={"engine": Vllm(core=engine), **limits}),
            # A shorter run takes the same steps.
            "stages": tuple(
                stage.model_copy(
                    update={"schedule": "constant", "warmup_ratio": 0.0, "keep_rollouts_every": 1}
                )
                for stage in found.stages
            ),
            "learner": found.learner.model_copy(update=limits),
            "reward_workers": found.reward_workers.model_copy(update=limits),
        }
    )


def _answers(file: Path) -> dict[tuple[str, int], list[int]]:
    return {(row["uid"], row["index"]): list(row["token_ids"]) for row in read_rollouts(file)}
