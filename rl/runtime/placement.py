"""Placement: how many CPUs and GPUs each actor asks for. Pure arithmetic, so that `plumbline
plan` can show it without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from rl.config import Section
from rl.errors import ConfigError


class RuntimeConfig(Section):
    """Where the actors run."""

    address: str | None = Field(
        None,
        description="Absent: Ray starts here, or, in a job of `ray job submit`, that cluster is "
        "joined. `auto` or host:port joins a cluster.",
    )
    num_cpus: float | None = Field(None, gt=0)
    dashboard: bool = True
    dashboard_port: int | None = None
    metrics_port: int | None = None
    object_store_mib: int = Field(512, ge=80)
    place_deadline_s: float = Field(
        60.0, gt=0, description="Longest wait for the places of a role's actors."
    )
    start_deadline_s: float = Field(600.0, gt=0)  # the first start builds DeepSpeed's extension


@dataclass(frozen=True)
class Role:
    """A kind of actor: `count` of them, each with `cpus` (None: chosen here) and `gpus`.

    A role's actors get a placement group of their own: `PACK` on as few nodes as can be (ranks
    that talk at every step), or `SPREAD` over them (a lost node then takes few).
    """

    name: str
    count: int
    cpus: float | None = None
    gpus: float = 0.0
    strategy: Literal["PACK", "SPREAD"] = "PACK"


@dataclass(frozen=True)
class Placement:
    """The roles with every figure decided, and the cluster that they were fitted to."""

    roles: tuple[Role, ...]
    cluster_cpus: float
    cluster_gpus: float

    def role(self, name: str) -> Role:
        """The role of that name, with its figures."""
        return next(role for role in self.roles if role.name == name)


def place(roles: Sequence[Role], *, cluster_cpus: float, cluster_gpus: float) -> Placement:
    """Gives every actor its share.

    Actors without a figure get one CPU each, or an equal fraction of what is left where the
    machine is smaller than that:
    learner and rollouts take turns, so fractions of a core are fine. Raises: ConfigError with
    demand and supply where the
    figures asked for exceed the cluster.
    """
    asked = sum(role.count * role.cpus for role in roles if role.cpus is not None)
    free = [role for role in roles if role.cpus is None]
    left = cluster_cpus - asked
    if asked > cluster_cpus + 1e-9 or (free and left <= 0):
        waiting = f" and {sum(role.count for role in free)} more need a share" if free else ""
        raise ConfigError(
            f"the actors ask for {asked:g} CPUs{waiting}",
            where=", ".join(f"{r.name} {r.count} x {_figure(r.cpus)}" for r in roles),
            expected=f"at most the cluster's {cluster_cpus:g}",
            do="lower learner.cpus, rollout.cpus or reward.cpus (fractions are fine), "
            "or join a larger cluster (runtime.address)",
        )
    wanted_gpus = sum(role.count * role.gpus for role in roles)
    if wanted_gpus > cluster_gpus + 1e-9:
        raise ConfigError(
            f"the actors ask for {wanted_gpus:g} GPUs",
            where=", ".join(f"{role.name} {role.count} x {role.gpus:g}" for role in roles),
            expected=f"at most the cluster's {cluster_gpus:g}",
            do="lower learner.gpus or rollout.gpus, or join a larger cluster (runtime.address)",
        )
    actors = sum(role.count for role in free)
    share = min(1.0, int(left / actors * 100) / 100) if actors else 0.0
    decided = tuple(replace(role, cpus=share if role.cpus is None else role.cpus) for role in roles)
    return Placement(decided, cluster_cpus, cluster_gpus)


def _figure(cpus: float | None) -> str:
    return "auto" if cpus is None else f"{cpus:g}"
