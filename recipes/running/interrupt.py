"""SIGTERM: a run that receives it saves its step and ends in order, within a grace period."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rl.errors import DeadlineError, PlumblineError

_KEPT = "finished stages, checkpoints and answers so far are kept"


class Interrupted(PlumblineError):
    """A run that stopped because it received SIGTERM; what it had done is saved."""

    exit_code = 0


class Interrupt:
    """Whether the run received SIGTERM. Use as a context around the run.

    Within `at_steps` the signal waits for the step's end, where the trainer saves and calls `stop`;
    elsewhere (start, sampling, evaluation) nothing unsaved is lost, and it stops the run at once.
    `grace_s` seconds after the signal the run ends: as an error where the step is not saved yet,
    well where only the engines are slow to end. `on_stop` is called at once with what is saved.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.is_asked = False
        self.on_stop: Callable[[str], None] = lambda message: None
        self._is_at_steps = self._is_saved = self._is_told = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        self.listen()
        return self

    def listen(self) -> None:
        """Takes the signals, once more where a library has taken them away."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in ((signal.SIGTERM, self._asked), (signal.SIGALRM, self._late)):
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def __exit__(self, *_: object) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    @contextmanager
    def at_steps(self) -> Iterator[None]:
        """While the block runs, the signal waits for the end of a step."""
        self._is_at_steps = True
        try:
            yield
        finally:
            self._is_at_steps = False
        if self.is_asked and not self._is_told:  # after the last step had looked
            self.stop(_KEPT)

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """While the block runs, all steps so far are saved: the signal need not wait."""
        self._is_at_steps = False
        try:
            if self.is_asked:
                self.stop(_KEPT)
            yield
        finally:
            self._is_at_steps = True

    def stop(self, what: str) -> None:
        """Raises: Interrupted, saying what is saved."""
        self._is_saved = self._is_told = True
        stopped = Interrupted(f"stopped by SIGTERM: {what}", do="continue with --resume")
        self.on_stop(str(stopped))
        raise stopped

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:  # on its way: the first signal's grace holds
            return
        self.is_asked = True
        signal.setitimer(signal.ITIMER_REAL, self.grace_s)
        if not self._is_at_steps:
            self.stop(_KEPT)

    def _late(self, number: int, frame: FrameType | None) -> None:
        if self._is_saved:
            os._exit(Interrupted.exit_code)  # Ray ends what this process started
        self._is_told = True
        raise DeadlineError(
            f"the step did not end within {self.grace_s:g} s of SIGTERM",
            expected="a shorter step, or a longer run.grace_s",
            do="continue from the last checkpoint with --resume",
        )
