"""Which machines a recipe is meant for, and whether they support its transport. Nothing starts."""

from __future__ import annotations

from pydantic import Field

from rl.config import ConfigFile, Section
from rl.errors import ConfigError
from rl.learners.base import LearnerConfig
from rl.runtime.placement import RuntimeConfig
from rollouts.base import RolloutConfig

_Fault = tuple[str, str, str]  # the key, what is wrong, what to do


class HardwareSection(Section):
    """The machines that the recipe is meant for, on which `plan` places the actors. A run takes
    what it finds.
    """

    nodes: int = Field(1, ge=1, description="Machines.")
    gpus: int = Field(0, ge=0, description="GPUs of one machine.")
    gpu_gib: float | None = Field(None, gt=0, description="Memory of one GPU in GiB.")


def check_hardware(
    hardware: HardwareSection,
    learner: LearnerConfig,
    rollout: RolloutConfig,
    runtime: RuntimeConfig,
    config: ConfigFile,
) -> None:
    """Whether transport, GPUs and machines of a recipe fit one another.

    Raises: ConfigError with file:line; the same whatever machine reads the recipe.
    """
    fault = _machines_fault(hardware, runtime) or _transport_fault(learner, rollout)
    if fault is not None:
        key, what, do = fault
        raise ConfigError(what, where=f"{config.section(key).where} {key}", do=do)


def _machines_fault(hardware: HardwareSection, runtime: RuntimeConfig) -> _Fault | None:
    if hardware.nodes > 1 and runtime.address is None:
        what = f"{hardware.nodes} machines, but Ray would start on this one alone"
        return "hardware.nodes", what, "set runtime.address: auto and start Ray on each machine"
    return None


def _transport_fault(learner: LearnerConfig, rollout: RolloutConfig) -> _Fault | None:
    if rollout.gpus and rollout.tensor_parallel > rollout.gpus and rollout.tensor_parallel > 1:
        what = f"{rollout.gpus:g} for an engine over {rollout.tensor_parallel}"
        return "rollout.gpus", what, f"set rollout.gpus: {rollout.tensor_parallel}"
    if rollout.transport == "file":
        return None
    key = "rollout.transport"
    if not (learner.gpus and rollout.gpus):
        what = f"{rollout.transport} goes from GPU to GPU, and the recipe asks for "
        what += f"{learner.gpus:g} a learner rank (learner.gpus) and {rollout.gpus:g} a rollout "
        what += "worker (rollout.gpus)"
        return key, what, "set both, or take transport: file"
    if rollout.transport == "ipc":
        return _ipc_fault(learner, rollout)
    if learner.gpus < 1 or rollout.gpus < 1:
        what = "nccl needs GPUs of their own for learner and engines, and the recipe shares them "
        what += f"(learner.gpus {learner.gpus:g}, rollout.gpus {rollout.gpus:g})"
        return key, what, "set whole numbers, or take transport: ipc"
    return None


def _ipc_fault(learner: LearnerConfig, rollout: RolloutConfig) -> _Fault | None:
    key = "rollout.transport"
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
