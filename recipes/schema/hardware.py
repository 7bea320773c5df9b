"""Which machines a recipe is meant for, and whether its engine fits them. Nothing starts."""

from __future__ import annotations

from pydantic import Field

from rl.config import ConfigFile, Section
from rl.errors import ConfigError
from rl.learners.base import LearnerConfig
from rl.runtime.placement import RuntimeConfig
from rollouts.base import RolloutConfig
from rollouts.engines.base import EngineFault


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
    """Whether engine, GPUs and machines of a recipe fit one another.

    Raises: ConfigError with file:line; the same whatever machine reads the recipe.
    """
    fault = _machines_fault(hardware, runtime) or rollout.engine.fault(learner, rollout)
    if fault is not None:
        where = f"{config.section(fault.key).where} {fault.key}"
        raise ConfigError(fault.what, where=where, do=fault.do)


def _machines_fault(hardware: HardwareSection, runtime: RuntimeConfig) -> EngineFault | None:
    if hardware.nodes > 1 and runtime.address is None:
        what = f"{hardware.nodes} machines, but Ray would start on this one alone"
        do = "set runtime.address: auto and start Ray on each machine"
        return EngineFault("hardware.nodes", what, do)
    return None
