"""The folder for the files of published weights. Its name says which process made it, so that the
next run on this machine can remove the folder of a driver that was killed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

# Host, namespace of process ids (containers may share a folder but not their ids), process id, and
# the start of the process.
_OWNER = re.compile(r"plumbline-(?P<host>.+)-(?P<space>\d+)-(?P<pid>\d+)-(?P<start>\d+)-[^-]*")


def make_exchange(root: Path) -> Path:
    """A new folder in `root` for this process, after those of dead processes are removed."""
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root)
    owner = f"{_host()}-{_space()}-{os.getpid()}-{started_at(os.getpid()) or 0}"
    return Path(tempfile.mkdtemp(prefix=f"plumbline-{owner}-", dir=root))


def remove_abandoned(root: Path) -> list[Path]:
    """Removes the folders in `root` whose process on this machine is gone; returns them.

    The system gives the id of a dead process to a new one, so the process's start is compared as
    well. Folders of other machines and containers are kept: their processes cannot be seen here.
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
    """When a process was started, in clock ticks since the machine's start; None if it has
    ended."""
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
