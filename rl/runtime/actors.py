"""Actors without Ray: the handle that callers hold, an actor in this process (`LocalHandle`), and
what runs in an actor's process (`ActorProcess`). `rl.runtime.cluster` starts actors on Ray.

A call is submitted at once and waited for later, always with a deadline:

    pending = handle.submit("generate", requests)   # the actor works, the caller continues
    results = pending.result(deadline_s=600)        # the value, or the actor's own error
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rl.errors import PlumblineError, RunError


class Pending(Protocol):
    """A call under way."""

    def result(self, deadline_s: float) -> Any:
        """Waits for the call's value. Raises: the actor's own error (see `flatten`); DeadlineError
        naming the actor and what was waited for; ActorLostError if its process has died."""
        ...


class Handle(Protocol):
    """A named actor. Every wait has a deadline."""

    name: str

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Pending:
        """Starts a call of the actor's method and returns at once."""
        ...

    def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any:
        """Calls the actor's method and waits for its value. Raises: see `Pending.result`."""
        ...

    def is_alive(self, patience_s: float = 1.0) -> bool:
        """Whether the process is alive. One that does not answer for so long counts as alive: it
        may be busy."""
        ...

    def stop(self) -> None:
        """Ends the actor's process."""
        ...


class _Done:
    def __init__(self, run: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: Exception | None = None
        try:
            self._value = run()
        except Exception as error:  # kept, and raised where the result is asked for
            self._error = error

    def result(self, deadline_s: float) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class LocalHandle:
    """An object of this process with the interface of an actor, so that the same code runs without
    Ray in tests and notebooks.

    >>> handle = LocalHandle("list-0", [3, 1, 2])
    >>> handle.call("sort", deadline_s=1)
    >>> handle.submit("index", 3).result(deadline_s=1)
    2
    """

    def __init__(self, name: str, target: Any) -> None:
        self.name, self._target = name, target

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Pending:
        return _Done(lambda: getattr(self._target, method)(*args, **kwargs))

    def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result(deadline_s)

    def is_alive(self, patience_s: float = 1.0) -> bool:
        return True

    def stop(self) -> None:
        self._target = None


class ActorProcess:
    """What Ray runs in an actor's process: makes the object and calls its methods.

    Ray wraps exceptions in its own classes and loses ours, so errors are returned as values:
    (True, value) or (False, error), the error in a form that every process can unpickle.
    """

    def __init__(
        self, module: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._target: Any = None
        self._failure: PlumblineError | None = None
        try:
            self._target = _lookup(module, name)(*args, **kwargs)
        except Exception as error:  # returned to the caller who waits for the start
            self._failure = flatten(error)

    def started(self) -> tuple[bool, Any]:
        return (False, self._failure) if self._failure is not None else (True, None)

    def run(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
        if self._failure is not None:
            return False, self._failure
        try:
            return True, getattr(self._target, method)(*args, **kwargs)
        except Exception as error:  # raised in the driver, which decides what follows
            return False, flatten(error)


def flatten(error: Exception) -> PlumblineError:
    """An error that any process can unpickle: one of ours stays what it is, any other becomes a
    RunError with its class, its first line and the place where it was raised. The traceback is kept
    as text in `remote_traceback`."""
    if isinstance(error, PlumblineError):
        error.__cause__ = error.__context__ = None
        flat: PlumblineError = error
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
        place = f"{Path(frame.filename).name}:{frame.lineno}" if frame else ""
        flat = RunError(f"{type(error).__name__}: {first_line(error)}", where=place)
    flat.__dict__["remote_traceback"] = "".join(traceback.format_exception(error))
    return flat


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not empty, else the name of its class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _lookup(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
