"""`plumbline doctor`: checks this machine and environment, and says what to do about each problem.

Heavy libraries are imported in child processes only, so that one that is broken or hangs cannot
stop the doctor.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recipes.planning.finding import Finding
from recipes.planning.packages import check_versions
from rl.runtime.shared_cores import container_limit

GIB = 2**30
PROBE_TIMEOUT_S = 180
DASHBOARD_PORT = 8265

# Opens a picture by its path, as the processors of transformers do for a model card's snippet.
OPENS_A_PICTURE = """
import tempfile, torchvision
from PIL import Image
from transformers import Qwen3VLProcessor
from transformers.image_utils import load_image_as_tensor
with tempfile.NamedTemporaryFile(suffix=".png") as file:
    Image.new("RGB", (4, 2)).save(file.name)
    assert load_image_as_tensor(file.name).shape == (3, 2, 4)
print(torchvision.__version__, "with the Qwen-VL processors; opens pictures by path")
"""
# What a child process runs to prove that a library works; its last line of output is shown.
PROBES = {
    "torch": "import torch; torch.ones(2, 2) @ torch.ones(2, 2); print(torch.__version__)",
    "torchvision": OPENS_A_PICTURE,
    "vllm": "from vllm import LLM; import vllm; print(vllm.__version__)",
    "deepspeed": "import deepspeed; print(deepspeed.__version__)",
    "ray": "import ray; from ray.util import metrics; print(ray.__version__)",
}
REMEDIES = {
    "torch": "make setup installs a CPU build",
    "torchvision": "make setup installs requirements/torchvision_hook.py",
    "vllm": "make setup; on a GPU machine: pip install 'plumbline[gpu]'",
    "deepspeed": "make setup; its message names what its build lacked",
    "ray": "make setup",
}


def doctor(console: Console) -> int:
    """Prints every finding and its remedy. Returns 1 if something will not work, else 0."""
    with console.status("looking at machine and engines"):
        findings = checkup()
    console.print(as_table(findings))
    problems = sum(finding.status == "problem" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    console.print(f"{problems} problems, {warnings} warnings, {len(findings)} checks")
    return 1 if problems else 0


def checkup() -> list[Finding]:
    """All findings, in the order in which they are shown. The imports run in child processes beside
    the quick checks.
    """
    quick: list[Callable[[], Finding]] = [
        check_python,
        check_versions,
        check_torch_build,
        check_build_tools,
        check_cores,
        check_memory,
        check_shared_memory,
        check_disk,
        check_loopback,
        check_ray_nodes,
        check_gpus,
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        engines = pool.map(check_import, PROBES, PROBES.values())
        return [check() for check in quick] + list(engines)


def as_table(findings: Iterable[Finding]) -> Table:
    """One row for each finding, and its remedy in a row below."""
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        colour = colours[finding.status]
        table.add_row(f"[{colour}]{finding.status}[/]", finding.topic, plain(finding.detail))
        if finding.do:
            table.add_row("", "", f"[bold]do:[/] {plain(finding.do)}")
    return table


def plain(text: str) -> str:
    """Text in which rich sees no markup: `plumbline[gpu]` stays whole."""
    return text.replace("[", r"\[")


def check_python() -> Finding:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{version}, {sys.executable}")


def check_torch_build() -> Finding:
    """Whether torch's build fits the machine."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Finding("torch build", "problem", "torch is not installed", REMEDIES["torch"])
    if version.endswith("+cpu") and gpu_lines():
        do = "pip install 'plumbline[gpu]' in a new environment"
        return Finding("torch build", "warning", f"{version} cannot use the GPU here", do)
    return Finding("torch build", "ok", version)


def check_import(library: str, code: str) -> Finding:
    """Imports a library in a child process. The last line of its error is the reason."""
    accelerator = {} if gpu_lines() else {"DS_ACCELERATOR": "cpu"}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, **quiet, **accelerator},
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        detail = f"the import did not end within {PROBE_TIMEOUT_S} s"
        return Finding(library, "problem", detail, REMEDIES[library])
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"the import ended with exit code {child.returncode}"
        return Finding(library, "problem", reason, REMEDIES[library])
    return Finding(library, "ok", child.stdout.strip().splitlines()[-1])


def check_build_tools() -> Finding:
    """What DeepSpeed's extension is built with and what vLLM loads from the system."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = []
    if not shutil.which(os.environ.get("CXX", "g++")):
        packages.append("g++")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        packages.append(f"{python}-dev")
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        packages.append("libnuma1")
    if packages:
        do = f"sudo apt-get install {' '.join(packages)}"
        return Finding("build tools", "problem", f"missing: {', '.join(packages)}", do)
    beside = Path(sys.executable).with_name("ninja")
    if not shutil.which("ninja") and not beside.exists():
        do = "pip install ninja"
        return Finding("build tools", "problem", "ninja is missing", do)
    return Finding("build tools", "ok", "C++ compiler, ninja, Python.h, libnuma")


def check_cores() -> Finding:
    """The processor cores that this process may use, a container's limit included."""
    return judge_cores(len(os.sched_getaffinity(0)), container_limit())


def judge_cores(cores: int, limit: float | None) -> Finding:
    """The quickstart is made for two cores; on fewer it takes longer."""
    usable = cores if limit is None else min(float(cores), limit)
    detail = f"{usable:g}" + ("" if limit is None else f" of {cores}, by the container's limit")
    if usable < 2:
        do = "expect the quickstart to take more than its stated time"
        return Finding("cores", "warning", detail, do)
    return Finding("cores", "ok", detail)


def check_memory() -> Finding:
    """Memory that is free for us, a container's limit included."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1}
    limit, used = (read_first(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    free = kib["MemAvailable"] * 1024
    if limit and used and limit != "max":
        free = min(free, int(limit) - int(used))
    return judge_memory(free)


def judge_memory(free: int) -> Finding:
    """The quickstart stays under 10 GiB."""
    detail = f"{free / GIB:.1f} GiB free"
    if free < 4 * GIB:
        return Finding("memory", "problem", detail, "free some: engines and learner need 4 GiB")
    if free < 10 * GIB:
        return Finding("memory", "warning", detail, "keep other programs small: plan for 10 GiB")
    return Finding("memory", "ok", detail)


def check_shared_memory() -> Finding:
    """/dev/shm: Ray's object store and published weights live there."""
    try:
        return judge_shared_memory(shutil.disk_usage("/dev/shm").free)
    except OSError as error:
        do = "mount a tmpfs at /dev/shm"
        return Finding("shared memory", "problem", f"/dev/shm: {error.strerror}", do)


def judge_shared_memory(free: int) -> Finding:
    """Containers have 64 MiB by default, and Ray then falls back to the disk."""
    detail = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free < GIB:
        do = "start the container with --shm-size=4g"
        return Finding("shared memory", "warning", detail, do)
    return Finding("shared memory", "ok", detail)


def check_disk() -> Finding:
    """Whether runs can be written to the current folder, and how much space is free."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    detail = f"{free / GIB:.0f} GiB free in {here}"
    if not os.access(here, os.W_OK):
        return Finding("disk", "problem", f"{here} cannot be written", "work in a folder of yours")
    if free < 5 * GIB:
        return Finding(
            "disk", "warning", detail, "free some: a run with checkpoints takes a few GiB"
        )
    return Finding("disk", "ok", detail)


def check_loopback() -> Finding:
    """Whether local ports can be used: actors and ranks talk over them, and gloo also resolves the
    host's own name.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        do = "allow connections to 127.0.0.1 (firewall, sandbox, network namespace)"
        return Finding("loopback", "problem", f"127.0.0.1: {error}", do)
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError:
        do = f"add the line '127.0.0.1 {name}' to /etc/hosts"
        return Finding("loopback", "warning", f"the host's name {name} does not resolve", do)
    if not is_free(DASHBOARD_PORT):
        detail = f"port {DASHBOARD_PORT} is taken: Ray's dashboard will use the next free one"
        return Finding("loopback", "ok", detail)
    return Finding("loopback", "ok", f"local ports open, {DASHBOARD_PORT} free for Ray's dashboard")


def check_ray_nodes() -> Finding:
    """Whether a Ray cluster's node runs on this machine, and how. A run's own Ray is as it should
    be: `rl.runtime.loopback` sees to it."""
    return judge_ray_nodes([node for node in ray_nodes() if not node[0].startswith("127.")])


def judge_ray_nodes(clusters: list[tuple[str, str]]) -> Finding:
    """(address, niceness of its workers) of every cluster's node on this machine."""
    if not clusters:
        detail = (
            "no cluster here: a run starts its own Ray, on 127.0.0.1 alone and at normal priority"
        )
        return Finding("Ray nodes", "ok", detail)
    addresses = ", ".join(sorted({address for address, _ in clusters}))
    detail = f"a cluster listens on {addresses}: its ports run what is sent to them"
    do = "keep its network closed to others"
    if any(niceness != "0" for _, niceness in clusters):
        detail += "; its workers give way to every other program (niceness 15)"
        do += ", and start its nodes with RAY_worker_niceness=0 ray start ..."
    return Finding("Ray nodes", "warning", detail, do)


def ray_nodes() -> list[tuple[str, str]]:
    """(address, niceness of its workers) of the Ray nodes on this machine. The niceness is "" if it
    is Ray's default, or if the node is another user's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(errors="replace").split("\0")
            if Path(command[0]).name != "raylet":
                continue
            address = _value(command, "--node_ip_address=")
            found.append((address, ""))
            variables = (process / "environ").read_text(errors="replace").split("\0")
            found[-1] = (address, _value(variables, "RAY_worker_niceness="))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def _value(items: Iterable[str], prefix: str) -> str:
    return next((item.removeprefix(prefix) for item in items if item.startswith(prefix)), "")


def is_free(port: int) -> bool:
    """Whether a local port can be bound."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def check_gpus() -> Finding:
    """NVIDIA GPUs with driver and memory. None is fine: everything runs on CPU."""
    lines = gpu_lines()
    return Finding("GPUs", "ok", "; ".join(lines) if lines else "none: everything runs on CPU")


def gpu_lines() -> list[str]:
    """Name, driver and memory of each GPU. Empty if there is no working driver."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def read_first(path: str) -> str | None:
    """The content of a small system file, or None if it cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
