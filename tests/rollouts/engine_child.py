"""Runs a RolloutWorker in its own process for tests: calls come over a pipe, as to an actor."""

from __future__ import annotations

import os
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    worker: Any = None
    while True:
        try:
            method, args, kwargs = pipe.recv()
        except EOFError:
            os._exit(0)  # an orderly end of vLLM takes seconds
        try:
            if method == "start":
                from rollouts.worker import RolloutWorker

                worker, value = RolloutWorker(*args, **kwargs), None
            elif method == "skip":  # a fault: this small method does nothing from now on
                value = setattr(worker.engine, args[0], lambda *_: None)
            elif method == "restore":
                value = vars(worker.engine).pop(args[0], None) and None
            else:
                value = getattr(worker, method)(*args, **kwargs)
            pipe.send((True, value))
        except Exception as error:
            pipe.send((False, error))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
