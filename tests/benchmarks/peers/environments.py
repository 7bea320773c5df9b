"""The environments of the peers: TRL shares the project's, ms-swift has one of its own."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from requirements import install

LOCK = Path(__file__).with_name("ms_swift.lock")


def default_cache() -> Path:
    """Where environments are kept: a folder of the user's cache, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plumbline" / "peers"


def peer_python(system: str, cache: Path) -> Path:
    """The interpreter of a system's environment, which is made where it is missing.

    TRL 1.16 is pinned in requirements/cpu.lock, so it runs in the project's own environment.
    ms-swift 4.6 needs an older TRL, peft and datasets. Its environment is made from `ms_swift.lock`
    as the project's is made from its lock: torch is asked for as a CPU build first, and the hook
    for torchvision is installed too.
    """
    return _ms_swift(cache) if system == "ms-swift" else Path(sys.executable)


def _ms_swift(cache: Path) -> Path:
    venv = cache / "ms-swift"
    python, stamp = venv / "bin" / "python", venv / "plumbline-stamp"
    wanted = hashlib.sha256(LOCK.read_bytes() + install.HOOK.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    cache.mkdir(parents=True, exist_ok=True)
    # The set-up's functions work on the environment that its module names.
    install.VENV, install.PYTHON, install.LOCK = venv, python, LOCK
    install.PIP_LOG = venv / "pip.log"
    install.make_venv()
    install.install_torch()
    install.say(f"installing {LOCK.name}: about 2 GB and two minutes the first time")
    install.pip("install", "--no-deps", "-r", str(LOCK))
    install.install_hook()
    stamp.write_text(wanted)
    return python
