"""Two sentences for the top of the page: the model with its data, and the benchmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evals.report.display.figures import count
from evals.report.facts.spent import stage_cost
from evals.report.facts.stored import judge_of
from evals.report.records import Result
from evals.report.run import Run, Stage

_MOST_HEADER = 100_000_000  # bytes; the limit of the format


def about(run: Run) -> list[str]:
    """The model with its data, and the benchmarks. What the run folder does not say is left out."""
    return [text for text in (_model(run), _benchmarks(run)) if text]


def _model(run: Run) -> str:
    page = run.config.get("model")
    path = str(page.get("path") or "") if isinstance(page, dict) else ""
    facts = ", ".join(_architecture(run))
    named = f"{path} ({facts})".strip() if facts else path
    learned = [f"{stage.name} {text}" for stage in run.stages if (text := _data(run, stage))]
    parts = [f"the model is {named}"] if named else []
    return _sentence("; ".join([*parts, ", ".join(learned)] if learned else parts))


def _data(run: Run, stage: Stage) -> str:
    """The data that a stage learned from, or whose prompts it answered."""
    named = stage.facts.get("data")
    names = [str(name) for name in named] if isinstance(named, list) else []
    if not names:
        return ""
    counts = stage.facts.get("counts")
    if isinstance(counts, dict) and counts.get("prompts"):
        return f"answers {' and '.join(names)} ({count(counts['prompts'])} prompts)"
    rows = stage.facts.get("rows")
    size = f" ({count(rows)} rows)" if isinstance(rows, int) else ""
    sampled = stage_cost(run, stage).sampled
    own = f"its own {count(sampled)} answers to " if sampled else ""
    return f"learns from {own}{' and '.join(names)}{size}"


def _architecture(run: Run) -> list[str]:
    """The model's class and its parameters, from the first whole checkpoint that the run holds."""
    for stage in run.stages:
        named = stage.facts.get("checkpoint")
        folder = run.root / str(named)
        if not named or Path(str(named)).is_absolute() or (folder / "adapter_config.json").exists():
            continue
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            total = parameters(folder.glob("*.safetensors"))
        except (OSError, ValueError):
            continue
        listed = config.get("architectures") if isinstance(config, dict) else None
        names = [str(name) for name in listed] if isinstance(listed, list) else []
        return [*names[:1], *([f"{count(total)} parameters"] if total else [])]
    return []


def parameters(files: Iterable[Path]) -> int:
    """The number of parameters in safetensors files, from their headers alone. Raises: OSError,
    ValueError.
    """
    total = 0
    for path in files:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > _MOST_HEADER:
                raise ValueError(f"{path.name} has a header of {size} bytes")
            header = json.loads(file.read(size))
        total += sum(
            math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
        )
    return total


def _benchmarks(run: Run) -> str:
    named = []
    for name in run.benchmarks:
        result = next((s.results[name] for s in run.stages if name in s.results), None)
        if result is not None:
            named.append(_benchmark(run, name, result))
    return _sentence(f"measured on {'; '.join(named)}") if named else ""


def _benchmark(run: Run, name: str, result: Result) -> str:
    """A benchmark's path, its questions, and whether they are as many as the public set has."""
    asked = sum(part.n for part in result.parts.values())
    entry = _entry(run, name)
    path = str(entry.get("path") or "")
    where = f" from {path}" if path and path != name else ""
    parts = " and ".join(
        f"{count(part.n)} in the {kind} part"
        for kind in ("report", "select")
        if (part := result.parts.get(kind)) and part.n
    )
    text = f"{name}{where}, {count(asked)} questions ({parts})"
    judge = judge_of(run, name)
    public = getattr(judge, "expected_rows", None)
    if entry.get("limit"):
        return f"{text}, limited to {count(entry['limit'])}"
    if judge is None or not public or path in judge.hub_ids:
        return text
    if asked in (public, *(hub.rows for hub in judge.hub_ids.values())):
        return text
    return f"{text}: not the public set, which has {count(public)}"


def _entry(run: Run, name: str) -> dict[str, Any]:
    """The benchmark's entry in the recipe; empty where it has none."""
    listed = run.config.get("evals")
    entries: Any = listed.get("benchmarks") if isinstance(listed, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    return {}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
