"""Locks of torch's extension builds that a killed process has left.

DeepSpeed builds and loads a C++ extension when its process group starts. torch guards that by a
lock file, which whoever finds it waits for without end; a process killed in between leaves it for
ever. The owner keeps the file open, so a lock that no living process has open is nobody's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_EVERY_S = 1.0


@contextlib.contextmanager
def no_stale_locks(root: Path | None = None) -> Iterator[None]:
    """While the block runs, locks that nobody holds are removed, those left behind meanwhile too.

    `root` is the folder of torch's extensions (default: torch's own).
    """
    folder = root or _extensions()
    done = threading.Event()

    def watch() -> None:
        suspects: dict[Path, int] = {}
        while not done.is_set():
            # Twice in a row: an owner closes its lock a moment before it removes it.
            found = stale_locks(folder)
            for lock, number in found.items():
                if suspects.get(lock) == number:
                    lock.unlink(missing_ok=True)
            suspects = found
            done.wait(_EVERY_S)

    thread = threading.Thread(target=watch, name="extension-locks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def stale_locks(root: Path) -> dict[Path, int]:
    """`<root>/**/<extension>/lock` files that no living process has open, with their inodes."""
    found = {}
    for lock in root.glob("**/deepspeed_*/lock"):
        with contextlib.suppress(FileNotFoundError):
            found[lock] = lock.stat().st_ino
    if not found:
        return {}
    held = _open_files()
    return {lock: inode for lock, inode in found.items() if os.path.realpath(lock) not in held}


def _open_files() -> set[str]:
    """Paths that living processes of this user have open. Empty files count, sockets do not."""
    paths: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    paths.add(os.readlink(link))
    return paths


def _extensions() -> Path:
    from torch.utils.cpp_extension import get_default_build_root

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
