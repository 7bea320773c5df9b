"""Runs code that a model wrote where it can do no harm: no network, no home folder, no other
process, and little CPU, memory, disk and time.

    run("assert sorted([2, 1]) == [1, 2]")   # True
    run("while True: pass")                  # False: out of time
    run("import socket; socket.socket()")    # False: refused

The code runs in unprivileged Linux namespaces (user, mount, network, process, IPC), with a root of
its own (the system's libraries and the interpreter read-only, a /tmp of 16 MiB), resource limits,
no capabilities, and a system-call filter (no new process, socket or mount). `evals.sandbox.cell`
makes all that. Where any of it is not available nothing is run, and `run` raises.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from evals.sandbox.cell import NO_CELL
from rl.errors import EvalError

_CELL = Path(__file__).with_name("cell.py")
_TOKEN_FD = 3


@dataclass(frozen=True)
class Limits:
    """What the code may use. `threads` bounds its threads; processes it cannot start at all."""

    wall_s: float = 3.0
    cpu_s: int = 4
    memory_bytes: int = 2**30
    file_bytes: int = 2**24
    threads: int = 64


def run(code: str, limits: Limits | None = None) -> bool:
    """Whether the code ends within the limits and without an exception.

    Raises: EvalError where the sandbox cannot be made.
    """
    require()
    passed, _ = _run(code, limits or Limits())
    return passed


def require() -> None:
    """Raises: EvalError where no sandbox can be made on this machine."""
    if problem := why_not():
        raise EvalError(
            f"no sandbox can be made here: {problem}",
            where="running a model's code",
            do="run it on Linux 5.12 or newer with unprivileged user namespaces, or leave this "
            "benchmark out",
        )


@cache
def why_not() -> str:
    """Why no sandbox can be made on this machine; "" where one can."""
    if sys.platform != "linux":
        return f"it needs Linux, this is {sys.platform}"
    passed, problem = _run("pass", Limits(wall_s=30.0))
    return problem or ("" if passed else "an empty program does not run in it")


def _run(code: str, limits: Limits) -> tuple[bool, str]:
    """(whether the code passed, why the cell could not be made or "")."""
    token = secrets.token_hex(16)
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="sandbox-") as root:
        job = {"code": code, "limits": asdict(limits), "token": token, "root": root}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(_CELL), str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        os.close(writing)
        try:
            _, errors = process.communicate(json.dumps(job).encode(), timeout=limits.wall_s)
        except subprocess.TimeoutExpired:
            errors = b""
        finally:
            # The cell's first process ends with its parent, and everything in the cell with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            answer = os.read(reading, 1024) if process.returncode == 0 else b""
            os.close(reading)
    if process.returncode == NO_CELL:
        return False, " ".join(errors.decode(errors="replace").split())[:200] or "unknown"
    if process.returncode not in (0, -signal.SIGKILL):
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return False, f"the cell ended with status {process.returncode}: {' '.join(last)[:200]}"
    return answer == token.encode(), ""


# Moves the token's descriptor to 3 and closes every other one, before anything else runs.
_START = f"""
import os, runpy, sys
cell, writing = sys.argv[1], int(sys.argv[2])
if writing != {_TOKEN_FD}:
    os.dup2(writing, {_TOKEN_FD})
os.closerange({_TOKEN_FD + 1}, 4096)
runpy.run_path(cell, run_name="__main__")
"""
