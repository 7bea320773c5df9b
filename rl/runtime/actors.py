"""Handles on actors, whatever runs them: Ray (`rl.runtime.cluster`) or this very process
(`LocalHandle`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Pending(Protocol):
    """A call under way."""

    def result(self, deadline_s: float) -> Any:
        """The call's value. Raises: the actor's own error (flattened), DeadlineError naming
        actor and phase."""
        ...


class Handle(Protocol):
    """A named actor. Every wait has a deadline."""

    name: str

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Pending: ...

    def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any: ...

    def is_alive(self, patience_s: float = 1.0) -> bool:
        """Whether the process lives; one that is busy for so long lives."""
        ...

    def stop(self) -> None: ...


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
    """An object of this process behind the actor interface: the same code runs without Ray
    (tests, notebooks)."""

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
