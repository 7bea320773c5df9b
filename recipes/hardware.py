"""What machines a page is meant for, whether they can carry its transport, and where actors go on
them. Nothing starts."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pydantic import Field

from rl.config import Page, Section
from rl.errors import ConfigError
from rl.runtime.placement import Placement, Role, place

if TYPE_CHECKING:
    from recipes.config import Recipe


class HardwareSection(Section):
    """The machines that the page is meant for: what `plan` seats the actors on. A run takes what
    it finds.
    """

    nodes: int = Field(1, ge=1, description="Machines.")
    gpus: int = Field(0, ge=0, description="GPUs of one machine.")
    gpu_gib: float | None = Field(None, gt=0, description="Memory of one GPU in GiB.")


def check_hardware(recipe: Recipe, page: Page) -> None:
    """Whether transport, GPUs and machines of a page fit one another.

    Raises: ConfigError with file:line; the same whatever machine reads the page.
    """
    fault = _fault(recipe)
    if fault is not None:
        key, what, do = fault
        raise ConfigError(what, where=f"{page.section(key).where} {key}", do=do)


def _fault(recipe: Recipe) -> tuple[str, str, str] | None:
    """(key, what is wrong, what to do)."""
    learner, rollout, hardware = recipe.learner, recipe.rollout, recipe.hardware
    if hardware.nodes > 1 and recipe.runtime.address is None:
        what = f"{hardware.nodes} machines, but Ray would start on this one alone"
        return "hardware.nodes", what, "set runtime.address: auto and start Ray on each machine"
    if rollout.gpus and rollout.tensor_parallel > rollout.gpus and rollout.tensor_parallel > 1:
        what = f"{rollout.gpus:g} for an engine over {rollout.tensor_parallel}"
        return "rollout.gpus", what, f"set rollout.gpus: {rollout.tensor_parallel}"
    if rollout.transport == "file":
        return None
    key = "rollout.transport"
    if not (learner.gpus and rollout.gpus):
        what = f"{rollout.transport} goes from GPU to GPU, and the page asks for "
        what += f"{learner.gpus:g} a learner rank (learner.gpus) and {rollout.gpus:g} a rollout "
        what += "worker (rollout.gpus)"
        return key, what, "set both, or take transport: file"
    if rollout.transport == "ipc":
        return _ipc_fault(recipe)
    if learner.gpus < 1 or rollout.gpus < 1:
        what = "nccl needs GPUs of their own for learner and engines, and the page shares them "
        what += f"(learner.gpus {learner.gpus:g}, rollout.gpus {rollout.gpus:g})"
        return key, what, "set whole numbers, or take transport: ipc"
    return None


def _ipc_fault(recipe: Recipe) -> tuple[str, str, str] | None:
    learner, rollout, key = recipe.learner, recipe.rollout, "rollout.transport"
    if rollout.tensor_parallel > 1:
        what = f"ipc takes engines of one GPU, and tensor_parallel is {rollout.tensor_parallel}"
        return key, what, "set tensor_parallel: 1 and more workers, or take transport: nccl"
    if rollout.engine != "in_process":
        what = "a GPU's memory handles cannot be sent on to a core in a process of its own"
        return key, what, "set rollout.engine: in_process, or take transport: nccl"
    if abs(learner.gpus + rollout.gpus - 1) > 1e-9:
        what = "ipc needs learner and engine on one GPU of their own, and their shares are "
        what += f"{learner.gpus:g} + {rollout.gpus:g} of one"
        return key, what, "set fractions that make 1, e.g. learner.gpus: 0.5, rollout.gpus: 0.5"
    if learner.ranks != rollout.workers:
        what = "ipc pairs each engine with a learner rank on its GPU, and there are "
        what += f"{rollout.workers} engines for {learner.ranks} ranks"
        return key, what, "set rollout.workers and learner.ranks to the number of GPUs"
    return None


def require_gpus(recipe: Recipe) -> None:
    """Whether this machine has the GPUs that a page without `runtime.address` asks for.

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
            f"the page asks for {asked:g} GPUs, this machine has {here or 'none'}",
            where=f"learner {learner.ranks} x {learner.gpus:g}, "
            f"rollout {rollout.workers} x {rollout.gpus:g}",
            do="run it on such a machine, or join a cluster (runtime.address); "
            "`plumbline plan` shows the page without one",
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


def roles(recipe: Recipe) -> list[Role]:
    """The actors of a run. Reward workers have their share also where no stage names a reward yet:
    a script may ask for them later.
    """
    rewards, rollout, judge = recipe.reward_workers, recipe.rollout, recipe.evals.judge
    judges = 1 if judge is not None and judge.path is not None else 0
    beside = "learner" if rollout.transport == "ipc" else None
    return [
        Role("learner", recipe.learner.ranks, recipe.learner.cpus, recipe.learner.gpus),
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
