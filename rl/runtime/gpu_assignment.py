"""Which GPU of which machine each actor gets. Pure arithmetic, so that `plumbline plan`
can show it without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rl.errors import ConfigError
from rl.runtime.placement import Role


@dataclass(frozen=True)
class GpuAssignment:
    """The GPUs of one actor: the number of its machine, and the GPUs' numbers on that machine."""

    actor: str
    role: str
    node: int
    gpus: tuple[int, ...]


def assign_gpus(roles: Sequence[Role], *, nodes: int, gpus: int) -> list[GpuAssignment]:
    """Assigns GPUs to every actor that asks for GPUs, role after role, machine after machine.

    All GPUs of an actor are on one machine. An actor that asks for a fraction shares its GPU with
    actors of other roles, never with one of its own: two ranks of one process group need two GPUs.

    >>> roles = [Role("learner", 2, gpus=0.5), Role("rollout", 2, gpus=0.5)]
    >>> [(a.actor, a.gpus) for a in assign_gpus(roles, nodes=1, gpus=2)]
    [('learner-0', (0,)), ('learner-1', (1,)), ('rollout-0', (0,)), ('rollout-1', (1,))]

    Raises: ConfigError with demand and supply if there is no room for an actor.
    """
    taken = [[0.0] * gpus for _ in range(nodes)]
    assignments: list[GpuAssignment] = []
    for role in roles:
        own: set[tuple[int, int]] = set()
        for index in range(role.count if role.gpus else 0):
            found = _find(taken, own, role.gpus)
            if found is None:
                raise ConfigError(
                    f"{role.name}-{index} finds no place for its {role.gpus:g} GPUs",
                    where=", ".join(f"{r.name} {r.count} x {r.gpus:g}" for r in roles if r.gpus),
                    expected=f"at most {nodes} x {gpus} GPUs, no two of a role on one",
                    do="lower learner.ranks or rollout.workers, or raise hardware.nodes or .gpus",
                )
            node, places = found
            for place in places:
                taken[node][place] += min(1.0, role.gpus)
                own.add((node, place))
            assignments.append(GpuAssignment(f"{role.name}-{index}", role.name, node, places))
    return assignments


def _find(
    taken: Sequence[Sequence[float]], own: set[tuple[int, int]], asked: float
) -> tuple[int, tuple[int, ...]] | None:
    need, share = max(1, round(asked)), min(1.0, asked)
    for node, loads in enumerate(taken):
        free = [
            place
            for place, load in enumerate(loads)
            if load + share <= 1 + 1e-9 and (node, place) not in own
        ]
        if len(free) >= need:
            return node, tuple(free[:need])
    return None
