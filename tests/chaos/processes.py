"""Processes of one run, told from those of other runs on the machine by Ray's session folder, which
bears the driver's process id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def titles(driver: int) -> Iterator[tuple[int, bytes]]:
    """(pid, command line) of the living processes that write logs of the driver's Ray session."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != driver:
            try:
                files = [os.readlink(link) for link in (folder / "fd").iterdir()]
                if any(f"_{driver}/logs/" in file for file in files):
                    yield int(folder.name), (folder / "cmdline").read_bytes()
            except OSError:
                continue
