"""Something that the parity gate may repair in an engine, to name the cause of a difference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """A repair. If it removes the difference between engine and learner, `cause` is reported.

    name: how the engine knows it (`Engine.remedy`).
    cause: what was wrong, if the repair helps.
    do: what to do about it.

    >>> Remedy("prefix_cache", "the prefix cache was not reset", "reset it").name
    'prefix_cache'
    """

    name: str
    cause: str
    do: str


# Tried last, for every engine: the published file is loaded again, and every cache emptied.
PUBLISH = Remedy(
    "publish",
    "the publish was not taken, or only in part: a second load of the same file repaired it",
    "look at what happened to the worker during the publish (RolloutWorker.update_weights)",
)
