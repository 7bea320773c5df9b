"""The actors of a recipe and the machines that they are placed on. Nothing starts."""

from __future__ import annotations

import os
import subprocess

from recipes.schema.recipe import Recipe
from recipes.schema.train_stage import TrainStage
from rl.errors import ConfigError
from rl.runtime.placement import Placement, Role, place


def require_gpus(recipe: Recipe) -> None:
    """Whether this machine has the GPUs that a recipe without `runtime.address` asks for.

    Raises: ConfigError with both numbers.
    """
    asked = recipe.learner.ranks * recipe.learner.gpus
    asked += recipe.rollout.workers * recipe.rollout.gpus
    if not asked:
        return
    here = count_gpus()
    if asked > here + 1e-9:
        learner, rollout = recipe.learner, recipe.rollout
        raise ConfigError(
            f"the recipe asks for {asked:g} GPUs, this machine has {here or 'none'}",
            where=f"learner {learner.ranks} x {learner.gpus:g}, "
            f"rollout {rollout.workers} x {rollout.gpus:g}",
            do="run it on such a machine, or join a cluster (runtime.address); "
            "`plumbline plan` shows the recipe without one",
        )


def count_gpus() -> int:
    """NVIDIA GPUs of this machine."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def trains(recipe: Recipe) -> bool:
    """Whether a stage of the recipe trains, so that a new run of it needs a learner."""
    return any(isinstance(stage, TrainStage) for stage in recipe.stages)


def roles(recipe: Recipe, *, has_learner: bool | None = None) -> list[Role]:
    """The actors of a run. Reward workers have their share also where no stage names a reward yet:
    a script may ask for them later.

    has_learner: whether a learner runs; by default where the recipe has a training stage. Without
        one a plain forward pass takes its place until engine and weights have been compared.
    """
    if has_learner is None:
        has_learner = trains(recipe)
    learner = recipe.learner
    rewards, rollout, judge = recipe.reward_workers, recipe.rollout, recipe.evals.judge
    judges = 1 if judge is not None and judge.path is not None else 0
    beside = "learner" if rollout.engine.way_in == "ipc" and has_learner else None
    return [
        Role("learner", learner.ranks, learner.cpus, learner.gpus)
        if has_learner
        else Role("forward", 1, learner.cpus, learner.gpus),
        Role("rollout", rollout.workers, rollout.cpus, rollout.gpus, "SPREAD", beside),
        Role("reward", rewards.workers, rewards.cpus, strategy="SPREAD"),
        *[Role("judge", 1, rollout.cpus, rollout.gpus)] * judges,
    ]


def local_placement(recipe: Recipe) -> Placement:
    """The placement on this machine. Raises: ConfigError with demand and supply before anything
    starts."""
    require_gpus(recipe)
    cpus = recipe.runtime.num_cpus or float(os.cpu_count() or 1)
    return place(roles(recipe), cluster_cpus=cpus, cluster_gpus=float(count_gpus()))
