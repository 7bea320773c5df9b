"""The folder that published weights pass through. It says who made it, so that the next run on
this machine can remove what a killed driver left."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

# Host, namespace of process ids (containers may share a folder, not their ids), pid, start.
_OWNER = re.compile(r"plumbline-(?P<host>.+)-(?P<space>\d+)-(?P<pid>\d+)-(?P<start>\d+)-[^-]*")


def make_exchange(root: Path) -> Path:
    """A new folder in `root` for this process, after those of dead processes are removed."""
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root)
    owner = f"{_host()}-{_space()}-{os.getpid()}-{started_at(os.getpid()) or 0}"
    return Path(tempfile.mkdtemp(prefix=f"plumbline-{owner}-", dir=root))


def remove_abandoned(root: Path) -> list[Path]:
    """Removes the folders in `root` whose process on this machine is gone; returns them.

    A process id that was given out again is told by its start. What another machine or another
    container made is left: nobody here can tell whether it is in use.
    """
    if started_at(os.getpid()) is None:  # no /proc
        return []
    removed = []
    for folder in sorted(root.glob("plumbline-*")):
        made = _OWNER.fullmatch(folder.name)
        if made is None or (made["host"], made["space"]) != (_host(), _space()):
            continue
        if started_at(int(made["pid"])) != int(made["start"]):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def started_at(pid: int) -> int | None:
    """When a living process began, in clock ticks since the machine's start; None where it is
    gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _host() -> str:
    return socket.gethostname()


def _space() -> str:
    """The number of this process's namespace of process ids; 0 where the system has none."""
    try:
        return re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except OSError:
        return "0"
