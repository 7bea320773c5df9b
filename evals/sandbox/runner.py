"""Runs a model's code where it can harm nothing: no network, no home folder, no other process, and
little CPU, memory, disk and time.

The cell is made of unprivileged Linux namespaces (user, mount, network, process, IPC), a root of
its own with the system's libraries and the interpreter read-only and a 16 MiB /tmp, resource
limits, no capabilities, and a system-call filter (no new process, no socket, no mount). Where any
of these cannot be had, nothing is run: `run` refuses with one line.
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
    """What code may use. `threads` bounds threads; a process it cannot begin at all."""

    wall_s: float = 3.0
    cpu_s: int = 4
    memory_bytes: int = 2**30
    file_bytes: int = 2**24
    threads: int = 64


def run(code: str, limits: Limits | None = None) -> bool:
    """Whether the code comes to its end within the limits and without an exception.

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
    """(whether the code ended well, why the cell could not be made)."""
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
            # The cell's first process dies with its parent, and all in the cell with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            said = os.read(reading, 1024) if process.returncode == 0 else b""
            os.close(reading)
    if process.returncode == NO_CELL:
        return False, " ".join(errors.decode(errors="replace").split())[:200] or "unknown"
    if process.returncode not in (0, -signal.SIGKILL):
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return False, f"the cell ended with status {process.returncode}: {' '.join(last)[:200]}"
    return said == token.encode(), ""


# The token's descriptor is moved to 3 and every other one is closed before the cell is made.
_START = f"""
import os, runpy, sys
cell, writing = sys.argv[1], int(sys.argv[2])
if writing != {_TOKEN_FD}:
    os.dup2(writing, {_TOKEN_FD})
os.closerange({_TOKEN_FD + 1}, 4096)
runpy.run_path(cell, run_name="__main__")
"""
