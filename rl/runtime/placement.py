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
    num_cpus: float | None = Field(
        None,
        gt=0,
        description="CPUs that a Ray started here may give to actors; by default all of this "
        "machine's.",
    )
    dashboard: bool = Field(
        True, description="Whether a Ray started here also starts its dashboard."
    )
    dashboard_port: int | None = Field(
        None, description="Port of the dashboard; by default 8265, or the next free port."
    )
    metrics_port: int | None = Field(
        None, description="Port of the metrics for Prometheus; by default a free one."
    )
    object_store_mib: int = Field(
        512, ge=80, description="Size of Ray's object store in MiB, when Ray is started here."
    )
    place_deadline_s: float = Field(
        60.0, gt=0, description="Longest wait until the cluster has room for a role's actors."
    )
    start_deadline_s: float = Field(
        600.0,
        gt=0,
        description="Longest wait until an actor has started; the first start on a machine builds "
        "DeepSpeed's extension.",
    )


@dataclass(frozen=True)
class Role:
    """A kind of actor: `count` of them, each with `cpus` (None: `place` decides) and `gpus`.

        Role("learner", count=4, gpus=0.6)                          # four ranks on as few nodes
        Role("rollout", count=4, gpus=0.4, beside="learner")        # one engine on each rank's GPU

    The actors of a role get one placement group. `PACK` puts it on as few nodes as possible (ranks
    communicate at every step), `SPREAD` on as many (a lost node then takes few actors). A role with
    `beside` uses the placement group of that other role, so that actor i of both share a GPU.
    """

    name: str
    count: int
    cpus: float | None = None
    gpus: float = 0.0
    strategy: Literal["PACK", "SPREAD"] = "PACK"
    beside: str | None = None


@dataclass(frozen=True)
class Placement:
    """The roles with CPUs and GPUs decided, and the totals of the cluster that they fit into.

    placement = place([Role("learner", 1), Role("rollout", 2)], cluster_cpus=6, cluster_gpus=0)
    placement.role("rollout").cpus           # 1.0, for each of the two
    """

    roles: tuple[Role, ...]
    cluster_cpus: float
    cluster_gpus: float

    def role(self, name: str) -> Role:
        """The role of that name, with its CPUs and GPUs."""
        return next(role for role in self.roles if role.name == name)


def place(roles: Sequence[Role], *, cluster_cpus: float, cluster_gpus: float) -> Placement:
    """Decides the CPUs of every actor.

    Actors without a figure get one CPU each, or equal fractions of what is left on a machine that
    is smaller than that. Fractions of a core are fine because learner and engines take turns.

    >>> roles = [Role("learner", 1), Role("rollout", 1), Role("reward", 2, cpus=0.25)]
    >>> [role.cpus for role in place(roles, cluster_cpus=2, cluster_gpus=0).roles]
    [0.75, 0.75, 0.25]

    Raises: ConfigError with demand and supply if the actors ask for more than the cluster has.
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
    # Rounded down to hundredths, so that the sum never exceeds what is left.
    share = min(1.0, int(left / actors * 100) / 100) if actors else 0.0
    decided = tuple(replace(role, cpus=share if role.cpus is None else role.cpus) for role in roles)
    return Placement(decided, cluster_cpus, cluster_gpus)


def _figure(cpus: float | None) -> str:
    return "auto" if cpus is None else f"{cpus:g}"
