"""Removes lock files of torch's extension builds that a killed process has left behind.

DeepSpeed builds and loads a C++ extension when its process group starts. torch guards the build by
a lock file: a process that finds it waits until it is gone, without a limit. A process that is
killed during the build leaves it for ever. The owner keeps the file open while it builds, so a lock
that no living process has open can be removed.
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
    """Removes stale locks as long as the block runs, those too that become stale meanwhile.

    `root` is the folder of torch's extensions (default: torch's own).

        with no_stale_locks():
            deepspeed.init_distributed()  # would wait for ever for a lock of a killed process
    """
    folder = root or _extensions()
    done = threading.Event()

    def watch() -> None:
        suspects: dict[Path, int] = {}
        while not done.is_set():
            # Stale means seen twice in a row: an owner closes its lock a moment before it removes
            # it. The inode tells the same lock from a new one of the same name.
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
    """Paths of the files that living processes of this user have open (Linux: /proc)."""
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
