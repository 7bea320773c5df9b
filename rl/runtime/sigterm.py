"""Keeps this process's handler of SIGTERM while a library starts that installs its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_sigterm() -> Iterator[None]:
    """Restores the handler of SIGTERM after the block.

        with kept_sigterm():
            ray.init()              # installs a handler that ends the process at once

    If a signal arrives in the block and the library's handler answers it with an exit, the restored
    handler gets the signal instead. In a thread it does nothing: only the main thread may set
    handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
