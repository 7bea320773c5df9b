"""SIGTERM: at once where nothing unsaved is lost, at the step's end while a stage trains."""

import os
import signal
import subprocess
import sys
import time

import pytest

from recipes.running.interrupt import Interrupt, Interrupted
from rl.errors import RunError


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)


def test_outside_steps_it_stops_at_once_with_exit_code_0() -> None:
    with Interrupt(5), pytest.raises(Interrupted, match=r"SIGTERM.*--resume") as told:
        terminate()
    assert told.value.exit_code == 0


def test_within_steps_it_waits_to_be_asked() -> None:
    with Interrupt(5) as interrupt, interrupt.at_steps():
        assert not interrupt.is_asked
        terminate()
        assert interrupt.is_asked
        with pytest.raises(Interrupted, match="saved at step 3"):
            interrupt.stop("sft is saved at step 3 of 9")


def test_between_steps_it_stops_at_once_and_says_so_first() -> None:
    with Interrupt(5) as interrupt:
        told: list[str] = []
        interrupt.on_stop = told.append
        with interrupt.at_steps():
            with pytest.raises(Interrupted), interrupt.between_steps():
                terminate()
            assert len(told) == 1
            terminate()  # again, while the engines end
        assert len(told) == 1
        assert "--resume" in told[0]


def test_a_signal_of_the_step_before_stops_between_steps() -> None:
    with Interrupt(5) as interrupt, interrupt.at_steps():
        terminate()
        with pytest.raises(Interrupted), interrupt.between_steps():
            pytest.fail("the signal was forgotten")


def test_a_signal_after_the_last_step_had_looked_is_not_forgotten() -> None:
    with Interrupt(5) as interrupt, pytest.raises(Interrupted), interrupt.at_steps():
        terminate()


def test_a_step_that_does_not_end_is_ended_after_the_grace() -> None:
    with Interrupt(0.1) as interrupt, interrupt.at_steps():
        terminate()
        with pytest.raises(RunError, match=r"within 0\.1 s"):
            time.sleep(3)


SLOW_ENGINES = """
import os, signal, time
from recipes.running.interrupt import Interrupt, Interrupted
with Interrupt(0.3) as interrupt:
    try:
        with interrupt.at_steps():
            os.kill(os.getpid(), signal.SIGTERM)
            interrupt.stop("sft is saved")
    except Interrupted:
        time.sleep(60)
"""


def test_a_saved_run_whose_engines_end_slowly_exits_0_within_the_grace() -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SLOW_ENGINES], timeout=50, check=False)
    assert done.returncode == 0
    assert time.monotonic() - started < 50


def test_the_handlers_of_before_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt(5) as interrupt:
        assert signal.getsignal(signal.SIGTERM) != before
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a library takes it
        interrupt.listen()
        with pytest.raises(Interrupted):
            terminate()
    assert signal.getsignal(signal.SIGTERM) == before
