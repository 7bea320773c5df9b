"""SIGTERM while a library starts that takes it."""

import signal
import sys
from collections.abc import Iterator

import pytest

from rl.runtime.sigterm import kept_sigterm


class Told(Exception):
    """What our handler raises."""


def ours(number: int, frame: object) -> None:
    raise Told


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, ours)
    yield
    signal.signal(signal.SIGTERM, before)


def take() -> None:
    """What Ray's start does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))


def start_while_asked() -> None:
    with kept_sigterm():
        take()
        signal.raise_signal(signal.SIGTERM)


def test_the_handler_of_before_is_given_back() -> None:
    with kept_sigterm():
        take()
    with pytest.raises(Told):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_the_library_answered_with_an_exit_is_ours() -> None:
    with pytest.raises(Told):
        start_while_asked()
    assert signal.getsignal(signal.SIGTERM) is ours


def test_an_exit_of_its_own_stays_one() -> None:
    with pytest.raises(SystemExit), kept_sigterm():
        sys.exit(3)


def test_a_handler_that_lets_go_on_does_not_hide_that_the_start_ended() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with pytest.raises(SystemExit):
        start_while_asked()
