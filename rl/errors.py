"""The errors of this project: one tree of classes, and one way to turn other libraries' errors into
them. Each error says what is wrong, where, what was expected and what to do. Each can be pickled:
it crosses from an actor to the driver.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Iterator
from typing import Any, Self


class PlumblineError(Exception):
    """An error whose message is one clear line.

    - `what` names the fault and the value that is wrong;
    - `where` the place: file:line, key, uid of a sample, or actor;
    - `expected` what would have been right;
    - `do` what the user does next.

    `exit_code` is the command line's: 2 for a user's mistake, 3 for a failed gate, 1 otherwise.

    >>> error = ConfigError(
    ...     "clip_hgih: unknown key", where="algorithm", expected="clip_high", do="rename the key"
    ... )
    >>> print(error)
    algorithm: clip_hgih: unknown key; expected clip_high. Rename the key
    >>> print(error.at("grpo.yaml:14"))
    grpo.yaml:14: algorithm: clip_hgih: unknown key; expected clip_high. Rename the key
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = "") -> None:
        self.what, self.where, self.expected, self.do = what, where, expected, do
        super().__init__(self.line())

    def line(self) -> str:
        """The message on one line: `where: what; expected ... . Do`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        text = head + (f"; expected {self.expected}" if self.expected else "")
        stop = "" if text.endswith("?") else "."  # after `Did you mean clip_high?`
        return text + (f"{stop} {self.do[:1].upper()}{self.do[1:]}" if self.do else "")

    def at(self, place: str) -> Self:
        """The same error with a place (a recipe's line and key, say) in front of its own."""
        where = f"{place}: {self.where}" if place and self.where else place or self.where
        error = type(self)(self.what, where=where, expected=self.expected, do=self.do)
        # Other attributes (a ConfigError's key) come along; the four parts are the new error's.
        error.__dict__ = {**self.__dict__, **error.__dict__}
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ would call the class with the whole line as `what`.
        fields = {"what": self.what, "where": self.where, "expected": self.expected, "do": self.do}
        return _rebuild, (type(self), fields, dict(self.__dict__))


def _rebuild(
    kind: type[PlumblineError], fields: dict[str, str], state: dict[str, Any]
) -> PlumblineError:
    error = kind(**fields)
    error.__dict__.update(state)
    return error


class ConfigError(PlumblineError, ValueError):
    """A recipe, an override or a command line that makes no sense.

    `key` is the key at fault inside the section that was built, where there is one.
    """

    exit_code = 2
    key: str = ""


class DataError(PlumblineError, ValueError):
    """A row, an image or a data file that cannot be read as what it should be."""

    exit_code = 2


class ModelError(PlumblineError, ValueError):
    """A model folder that is incomplete, or a model that cannot do what is asked of it."""

    exit_code = 2


class RolloutError(PlumblineError, RuntimeError):
    """An inference engine that failed or broke its contract."""


class ParityError(RolloutError):
    """The engine's log-probs differ from the learner's: weights, caches, processor or template
    are stale or wrong.
    """


class RewardError(PlumblineError, RuntimeError):
    """A reward that raised, hung, or returned something that is not a reward."""


class EvalError(PlumblineError, RuntimeError):
    """A benchmark that could not be run, scored or compared."""


class GateError(EvalError):
    """A stage failed its evaluation gate."""

    exit_code = 3


class RunError(PlumblineError, RuntimeError):
    """A run that cannot continue: an actor is lost, a folder cannot be written, or a checkpoint is
    incomplete.
    """


class NoRunError(RunError):
    """A folder that was named as a run, or as an evaluation of one, and holds none."""

    exit_code = 2


class ActorLostError(RunError):
    """An actor whose process or node is gone: the call to it has no answer."""


class DeadlineError(RunError, TimeoutError):
    """A wait ended at its deadline. `where` names the actor and the phase."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's class and message on one line, of at most `limit` characters.

    >>> one_line(ValueError("shape\\n  [2, 3]"))
    'ValueError: shape [2, 3]'
    >>> one_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:limit]


@contextlib.contextmanager
def errors_as(
    kind: type[PlumblineError],
    what: str,
    *,
    where: str | Callable[[Exception], str] = "",
    expected: str = "",
    do: str = "",
    wraps_ours: bool = False,
) -> Iterator[None]:
    """Inside the block, any exception that is not ours becomes one of `kind`, chained to its cause.

    For calls into other libraries and into users' files, which may raise anything. `{error}` in
    `what` is replaced by the exception on one line; `where` may be found from the exception.
    Errors of this project pass through unchanged, because they say more already; with `wraps_ours`
    they are turned as well, where a caller relies on `kind` or on the place.

    >>> with errors_as(ModelError, "the weights do not load: {error}", where="models/a"):
    ...     {}["lm_head.weight"]
    Traceback (most recent call last):
    rl.errors.ModelError: models/a: the weights do not load: KeyError: 'lm_head.weight'
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, PlumblineError) and not wraps_ours:
            raise
        place = where if isinstance(where, str) else where(error)
        fault = what.replace("{error}", one_line(error))
        raise kind(fault, where=place, expected=expected, do=do) from error


_FULL = re.compile(r"No space left on device|Disk quota exceeded")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, also where it was raised in another process and
    only its text is left.

    >>> is_disk_full(OSError(28, "No space left on device"))
    True
    >>> is_disk_full(RunError("OSError: [Errno 28] No space left on device"))
    True
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return _FULL.search(str(error)) is not None
