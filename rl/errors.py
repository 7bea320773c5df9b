"""One tree of errors. Each says what is wrong, where, what was expected and what to do; each
crosses a process boundary."""

from __future__ import annotations

from typing import Any, Self


class PlumblineError(Exception):
    """An error with one clear line.

    `what` names the fault and its value, `where` the place (file:line, key, uid, actor),
    `expected` what would have been
    right, `do` the next action. `exit_code` is the command line's: 2 a user's mistake, 3 a
    failed gate, 1 otherwise.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = "") -> None:
        self.what, self.where, self.expected, self.do = what, where, expected, do
        super().__init__(self.line())

    def line(self) -> str:
        """The message on one line: `where: what; expected ...; do`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        tail = f"; expected {self.expected}" if self.expected else ""
        return f"{head}{tail}" + (f". {self.do[:1].upper()}{self.do[1:]}" if self.do else "")

    def at(self, place: str) -> Self:
        """The same error with the place (a page's line and key) in front of its own."""
        where = f"{place}: {self.where}" if place and self.where else place or self.where
        error = type(self)(self.what, where=where, expected=self.expected, do=self.do)
        error.__dict__ = {**self.__dict__, **error.__dict__}
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {"what": self.what, "where": self.where, "expected": self.expected, "do": self.do}
        return _rebuild, (type(self), fields, dict(self.__dict__))


def _rebuild(
    kind: type[PlumblineError], fields: dict[str, str], state: dict[str, Any]
) -> PlumblineError:
    error = kind(**fields)
    error.__dict__.update(state)
    return error


class ConfigError(PlumblineError, ValueError):
    """A recipe, an override or a command line that cannot be meant. `key` is the key at fault
    inside the section that was built, where one is.
    """

    exit_code = 2
    key: str = ""


class DataError(PlumblineError, ValueError):
    """A row, an image or a data file that cannot be read as what it should be."""

    exit_code = 2


class ModelError(PlumblineError, ValueError):
    """A model folder that is incomplete, or a model that cannot do what is asked."""

    exit_code = 2


class RolloutError(PlumblineError, RuntimeError):
    """An inference engine that failed or broke its contract."""


class ParityError(RolloutError):
    """The engine's log-probs differ from the learner's: stale or wrong weights, caches,
    processor or template."""


class RewardError(PlumblineError, RuntimeError):
    """A reward that raised, hung or returned something that is not a reward."""


class EvalError(PlumblineError, RuntimeError):
    """A benchmark that could not be run, scored or compared."""


class GateError(EvalError):
    """A stage failed its evaluation gate."""

    exit_code = 3


class RunError(PlumblineError, RuntimeError):
    """A run that cannot go on: an actor lost, a folder that cannot be written, a checkpoint
    that is not whole."""


class NoRunError(RunError):
    """A folder that was named as a run, or as an evaluation of one, and holds none."""

    exit_code = 2


class ActorLostError(RunError):
    """An actor whose process or node is gone; what it was asked has no answer."""


class DeadlineError(RunError, TimeoutError):
    """A wait ended at its deadline. `where` names the actor and phase."""
