"""Gathers what is wrong before a run starts, so that a user sees all of it in one go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rl.config_errors import with_lists_once
from rl.errors import ConfigError, PlumblineError

_HAS_LINE = re.compile(r":\d+\b|\brow \d")


class Faults:
    """Collects the errors of several checks: a check that fails does not end the others.

    faults = Faults()
    for stage in recipe.stages:
        with faults.at(recipe.where(f"stages.{stage.name}")):
            check(stage)                     # its error is kept, and the next stage is checked
    faults.raise_if_any()                    # one error that lists all of them
    """

    def __init__(self) -> None:
        self.errors: list[PlumblineError] = []

    @contextmanager
    def at(self, place: str = "") -> Iterator[None]:
        """Keeps the block's error. One that names no line gets `place`, a line of the recipe."""
        try:
            yield
        except PlumblineError as error:
            self.errors.append(error if _HAS_LINE.search(error.where) else error.at(place))

    def raise_if_any(self) -> None:
        """Raises: the only error, or a ConfigError with a line for each; exit code 2."""
        lines = list(dict.fromkeys(error.line() for error in self.errors))
        if len(lines) == 1 and self.errors[0].exit_code == ConfigError.exit_code:
            raise self.errors[0]
        if lines:
            raise ConfigError("\n".join(with_lists_once(lines)))
