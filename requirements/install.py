"""Makes `.venv`, the environment everything here runs in: `make setup`. Standard library only.

A stamp remembers what the environment was made from; as long as that has not changed, this takes a
fraction of a second.
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# Not sys.executable: make may start us from the very environment that is made again here.
SYSTEM_PYTHON = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
STAMP = VENV / "plumbline-stamp"
PIP_LOG = VENV / "pip.log"
LOCK = ROOT / "requirements" / "cpu.lock"
HOOK = ROOT / "requirements" / "torchvision_hook.py"
HOOK_MODULE = "_plumbline_torchvision"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
MADE_FROM = (LOCK, HOOK, ROOT / "pyproject.toml", Path(__file__).resolve())


def main() -> None:
    """Brings `.venv` up to date, or says in one line what is missing."""
    wanted = fingerprint()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return
    missing = missing_system_packages()
    if missing:
        stop(f"the set-up needs system packages: sudo apt-get install {' '.join(missing)}")
    start = time.monotonic()
    make_venv()
    install_torch()
    say("installing requirements/cpu.lock: about 4 GB and three minutes the first time")
    pip("install", "--no-deps", "-r", str(LOCK))
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    install_hook()
    STAMP.write_text(wanted)
    say(f"environment ready after {time.monotonic() - start:.0f} s")


def fingerprint() -> str:
    """What the environment is made from: the files' contents, and the place."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in MADE_FROM:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def missing_system_packages() -> list[str]:
    """Debian names of what pip cannot bring: a C++ compiler, Python's headers, libnuma (vLLM)."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    missing = []
    if not shutil.which(os.environ.get("CXX", "g++")):
        missing.append("g++")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        missing.append(f"{python}-dev")
    if importlib.util.find_spec("ensurepip") is None and importlib.util.find_spec("pip") is None:
        missing.append(f"{python}-venv")
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        missing.append("libnuma1")
    return missing


def make_venv() -> None:
    """An environment with pip in it, also where the system's Python came without ensurepip."""
    if PYTHON.exists() and runs(PYTHON, "-m", "pip", "--version"):
        return
    say(f"making {VENV}")
    if importlib.util.find_spec("ensurepip") is not None:
        run(SYSTEM_PYTHON, "-m", "venv", "--clear", VENV)
    else:
        run(SYSTEM_PYTHON, "-m", "venv", "--clear", "--without-pip", VENV)
        run(SYSTEM_PYTHON, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip")


def install_torch() -> None:
    """A CPU build of torch: where this machine's pip finds one, else from PyTorch's CPU index.

    On most machines a plain request brings the CUDA build and gigabytes of its libraries. So the
    CPU build is asked for by its label, and one without a label is taken only if it needs no CUDA.
    """
    version = locked_version("torch")
    if runs(PYTHON, "-c", f"import torch; assert torch.__version__.split('+')[0] == '{version}'"):
        return
    say(f"installing torch {version} for CPU")
    install = ("install", "--no-deps")
    if try_pip(*install, f"torch=={version}+cpu"):
        return
    if try_pip(*install, "--retries", "1", "--index-url", CPU_INDEX, f"torch=={version}+cpu"):
        return
    if plain_torch_is_cpu(version):
        pip(*install, f"torch=={version}")
        return
    stop(f"no CPU build of torch {version}: neither this machine's pip nor {CPU_INDEX} has one")


def locked_version(name: str) -> str:
    """The version that the lock holds."""
    for line in LOCK.read_text().splitlines():
        if line.startswith(f"{name}=="):
            return line.partition("==")[2]
    stop(f"{LOCK}: {name} is missing")


def plain_torch_is_cpu(version: str) -> bool:
    """Whether a plain request would bring a build that needs no CUDA libraries."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        options = ("--dry-run", "--no-deps", "--ignore-installed", "--retries", "1")
        if not try_pip("install", *options, "--report", str(report), f"torch=={version}"):
            return False
        metadata = json.loads(report.read_text())["install"][0]["metadata"]
    return not asks_for_cuda(metadata.get("requires_dist", []))


def asks_for_cuda(requirements: list[str]) -> bool:
    """Whether a build's requirements name CUDA libraries.

    >>> asks_for_cuda(["filelock", "nvidia-nccl-cu13==2.28.3; platform_system == 'Linux'"])
    True
    """
    return any(line.lower().startswith(("nvidia", "cuda", "triton")) for line in requirements)


def install_hook() -> None:
    """Copies the torchvision hook into the environment, with the `.pth` line that starts it."""
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.check_output([PYTHON, "-c", query], text=True).strip())
    shutil.copyfile(HOOK, site / f"{HOOK_MODULE}.py")
    (site / f"{HOOK_MODULE}.pth").write_text(f"import {HOOK_MODULE}\n")


def pip(*arguments: str) -> None:
    """Runs the environment's pip; on failure the end of its log explains."""
    if not try_pip(*arguments):
        tail = "\n".join(PIP_LOG.read_text().splitlines()[-20:])
        stop(f"pip {' '.join(arguments)} failed (all of it: {PIP_LOG})\n{tail}")


def try_pip(*arguments: str) -> bool:
    """Runs the environment's pip and tells whether it worked. What it says goes to a log."""
    command = [str(PYTHON), "-m", "pip", *arguments, "--disable-pip-version-check"]
    with PIP_LOG.open("w") as log:
        return subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0


def runs(*command: object) -> bool:
    """Whether a command ends well, quietly."""
    quiet = subprocess.DEVNULL
    done = subprocess.run([str(part) for part in command], stdout=quiet, stderr=quiet, check=False)
    return done.returncode == 0


def run(*command: object) -> None:
    """Runs a command of the set-up."""
    if subprocess.run([str(part) for part in command], check=False).returncode != 0:
        stop(f"{' '.join(str(part) for part in command)} failed; its message is above")


def say(message: str) -> None:
    """One line of progress."""
    print(f"set-up: {message}", flush=True)


def stop(message: str) -> NoReturn:
    """Ends the set-up with one line."""
    raise SystemExit(f"set-up: {message}")


if __name__ == "__main__":
    main()
