"""A Python process behind a pipe. It has this process's import path, may be killed at any moment,
and ends when this process ends, however that happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from rl.child import pipe_to; from {module} import {function}; "
    "{function}(pipe_to(int(sys.argv[2]), int(sys.argv[3])))"
)


class Child:
    """Runs `module:function` in a new process, with the other end of `pipe` as its argument:

        child = Child("rewards._child:main")  # calls rewards._child.main(connection) there
        child.pipe.send(request)
        if child.pipe.poll(10.0):             # seconds
            answer = child.pipe.recv()
        child.close()                         # kills it, and whatever it started

    `environment`: variables that the process has beside this one's.
    """

    def __init__(self, serve: str, environment: Mapping[str, str] | None = None) -> None:
        module, _, function = serve.partition(":")
        ours, theirs = socket.socketpair()
        with theirs:
            # Not multiprocessing: its spawn would run the caller's main module again
            # (Ray's, or an unguarded script).
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BOOT.format(module=module, function=function),
                    json.dumps([path or os.getcwd() for path in sys.path]),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pipe = Connection(ours.detach())

    def wait(self, timeout_s: float) -> int:
        """Waits for the process to end; its exit status. Raises: subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """Kills the process and whatever it started: it leads a process group of its own, which one
        signal reaches.
        """
        if self.pipe.closed:
            return
        with contextlib.suppress(OSError):
            self.pipe.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()
        self._process.wait()


def pipe_to(descriptor: int, parent: int) -> Connection:
    """The child's end of the pipe. From now on the child ends when its parent does, even while
    something in it hangs: a thread looks every second whether it has a new parent.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return Connection(descriptor)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
