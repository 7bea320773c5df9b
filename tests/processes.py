"""Processes of a run, as /proc shows them."""

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


def engine_cores(worker: int) -> list[int]:
    """Pids of the vLLM engine cores that this process started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes()
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == worker and title.startswith(b"VLLM::EngineCore"):
                found.append(int(folder.name))
    return found
