"""A run directory read into memory: stages in order, with results and curves. Files that cannot be
read are listed in `problems`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from evals.report.records import SCHEMA, Result
from rl.errors import NoRunError
from rl.runs.metrics import read_metrics


@dataclass(frozen=True)
class Stage:
    """One stage: what stage.json says, its curves, and its result on each benchmark. `checkpoints`
    holds the results of evaluations inside the stage, by step; these use the select part only.
    """

    name: str
    facts: dict[str, Any]
    metrics: list[dict[str, Any]]
    results: dict[str, Result]
    pending: dict[str, int]
    checkpoints: dict[int, dict[str, Result]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.facts.get("kind") or ("base" if self.parent is None else "train"))

    @property
    def parent(self) -> str | None:
        named = self.facts.get("parent")
        if named is None:
            named = next((r.parent_stage for r in self.results.values() if r.parent_stage), None)
        return None if named is None or named == self.name else str(named)

    @property
    def algorithm(self) -> str:
        value = self.facts.get("algorithm")
        return str(value.get("name", "")) if isinstance(value, dict) else str(value or "")

    @property
    def status(self) -> str:
        return str(self.facts.get("status") or "finished")

    @property
    def seconds(self) -> float | None:
        value = self.facts.get("seconds")
        return float(value) if isinstance(value, int | float) else None

    @property
    def steps(self) -> int:
        """Optimizer steps done so far."""
        last = self.metrics[-1].get("step", 0) if self.metrics else 0
        return int(self.facts.get("steps") or last or 0)


@dataclass(frozen=True)
class Run:
    """A run directory. `problems` names every file that could not be read, and why.

    run = read_run(Path("runs/quickstart-0"))
    run.stage("grpo").results["textvqa"].part.value  # on the report part
    [stage.name for stage in run.line("grpo")]  # ["base", "sft", "dpo", "grpo"]
    """

    root: Path
    name: str
    config_text: str
    config: dict[str, Any]
    env: dict[str, Any]
    events: list[dict[str, Any]]
    stages: list[Stage]
    benchmarks: list[str]
    problems: list[str] = field(default_factory=list)

    def stage(self, name: str | None) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def scored(self) -> list[Stage]:
        """The stages with a column in the leaderboard: those that yield weights or have results."""
        return [stage for stage in self.stages if stage.kind != "sample" or stage.results]

    def line(self, name: str) -> list[Stage]:
        """A stage and those that it comes from, the first of them first."""
        found: list[Stage] = []
        while (stage := self.stage(name)) is not None and stage not in found:
            found.insert(0, stage)
            name = stage.parent or ""
        return found

    @property
    def seconds(self) -> float | None:
        """Time spent in the run's attempts (a pause before `--resume` does not count), else the sum
        of the stages' own times.
        """
        spent, start, last = 0.0, None, None
        for event in self.events:
            time = seconds_of(event.get("time"))
            if time is None:
                continue
            if start is None or event.get("event") == "run_started":
                spent += (last - start) if start is not None and last is not None else 0.0
                start = time
            last = time
        if start is not None and last is not None and (spent := spent + last - start):
            return spent
        own = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(own) if own else None

    @property
    def seed(self) -> Any:
        """The seed of the recipe; None where it has none."""
        return _at(self.config, "run", "seed")

    @property
    def place(self) -> str:
        """Where the recipe put the run, as one would type it."""
        return f"{_at(self.config, 'run', 'root') or 'runs'}/{self.name}"

    @property
    def is_running(self) -> bool:
        """Whether the run may still change: its last event did not end an attempt."""
        last = str(self.events[-1].get("event", "")) if self.events else ""
        ended = last.replace(" ", "_") in ("run_finished", "run_failed", "run_stopped")
        return bool(self.events) and not ended

    @property
    def started(self) -> float | None:
        times = [
            time for event in self.events if (time := seconds_of(event.get("time"))) is not None
        ]
        return min(times) if times else None


def read_run(root: Path) -> Run:
    """Everything that the report needs, from the run directory alone. Raises: NoRunError where
    there is no run.
    """
    if not (root / "stages").is_dir() and not (root / "evals").is_dir():
        raise NoRunError(
            "no run to report on",
            where=str(root),
            expected="a folder with stages/ or evals/",
            do="check the path: runs lie under runs/",
        )
    reader = _Reader(root)
    config_text = reader.text("config.yaml")
    config = reader.mapping(config_text)
    stages = [reader.stage(name) for name in reader.stage_names()]
    return Run(
        root=root,
        name=str(_at(config, "run", "name") or root.resolve().name),
        config_text=config_text,
        config=config,
        env=reader.json("env.json"),
        events=list(reader.lines("events.jsonl")),
        stages=_in_order(stages, [str(s.get("name")) for s in _list(config, "stages")]),
        benchmarks=_benchmarks(stages, config),
        problems=reader.problems,
    )


class _Reader:
    """Reads files of one run and remembers those that could not be read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def mapping(self, text: str) -> dict[str, Any]:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            self.problems.append(f"config.yaml: {' '.join(str(error).split())}")
            return {}
        return value if isinstance(value, dict) else {}

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file, NaN and infinities as None; empty where there is no file."""
        text = self.text(name)
        if not text:
            return {}
        try:
            value = json.loads(text, parse_constant=lambda _: None)
        except ValueError as error:
            self.problems.append(f"{name}: {error}")
            return {}
        return value if isinstance(value, dict) else {}

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        yield from read_lines(self.root / name, lambda note: self.problems.append(f"{name}{note}"))

    def stage_names(self) -> list[str]:
        """Stages that started, and models that were only evaluated."""
        began = {path.parent.name for path in self.root.glob("stages/*/stage.json")}
        judged = {path.parent.parent.name for path in self.root.glob("evals/*/*/result.json")}
        asked = {path.parent.parent.name for path in self.root.glob("evals/*/*/responses.jsonl")}
        return sorted(began | judged | asked)

    def stage(self, name: str) -> Stage:
        results: dict[str, Result] = {}
        pending: dict[str, int] = {}
        for folder in sorted((self.root / "evals" / name).glob("*")):
            path = f"evals/{name}/{folder.name}/result.json"
            if (self.root / path).is_file():
                result = self.result(path)
                if result is not None:
                    results[folder.name] = result
            elif (folder / "responses.jsonl").is_file():
                pending[folder.name] = len(list(read_lines(folder / "responses.jsonl")))
        metrics: list[dict[str, Any]] = []
        try:
            metrics.extend(read_metrics(self.root / "stages" / name / "metrics.jsonl"))
        except (ValueError, OSError) as error:
            self.problems.append(f"stages/{name}/metrics.jsonl: {error}")
        facts = self.json(f"stages/{name}/stage.json")
        return Stage(name, facts, metrics, results, pending, self.checkpoints(name))

    def checkpoints(self, name: str) -> dict[int, dict[str, Result]]:
        found: dict[int, dict[str, Result]] = {}
        for path in sorted(self.root.glob(f"stages/{escape(name)}/evals/step-*/*/result.json")):
            result = self.result(str(path.relative_to(self.root)))
            step = path.parent.parent.name.removeprefix("step-")
            if result is not None and step.isdigit():
                found.setdefault(int(step), {})[path.parent.name] = result
        return found

    def result(self, path: str) -> Result | None:
        try:
            result = Result.model_validate(self.json(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            self.problems.append(f"{path} {where}: {first['msg']} ({error.error_count()} faults)")
            return None
        if result.schema_version > SCHEMA:
            self.problems.append(
                f"{path}: schema {result.schema_version} is newer than this report's ({SCHEMA})"
            )
        return result


def read_lines(path: Path, note: Callable[[str], None] | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file. A torn last line (the writer was killed) is left out; other
    faults go to `note`.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line, parse_constant=lambda _: None)
            except ValueError as error:
                if line.endswith("\n") and note is not None:
                    note(f":{number}: {error}")
                continue
            if isinstance(value, dict):
                yield value


def _in_order(stages: list[Stage], named: list[str]) -> list[Stage]:
    """Base first, then the order of the recipe. Stages that the recipe does not name come last, by
    depth below their parents.
    """
    parents = {stage.name: stage.parent for stage in stages}

    def key(stage: Stage) -> tuple[int, int, str]:
        where = named.index(stage.name) if stage.name in named else len(named)
        return (0 if stage.kind == "base" else 1 + where, depth(stage.name, parents), stage.name)

    return sorted(stages, key=key)


def depth(name: str, parents: dict[str, str | None]) -> int:
    """Steps from a stage up to one without a parent in the run; a cycle ends where it closes."""
    seen = {name}
    above = parents.get(name)
    while above is not None and above in parents and above not in seen:
        seen.add(above)
        above = parents[above]
    return len(seen) - 1


def _benchmarks(stages: list[Stage], config: dict[str, Any]) -> list[str]:
    named = [str(b.get("name")) for b in _list(config, "evals", "benchmarks")]
    found = {name for stage in stages for name in (*stage.results, *stage.pending)}
    return sorted(
        found, key=lambda name: (named.index(name) if name in named else len(named), name)
    )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(config: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    value = _at(config, *keys)
    items = value if isinstance(value, list) else []
    return [item if isinstance(item, dict) else {"name": item} for item in items]


def seconds_of(value: Any) -> float | None:
    """Seconds since the epoch, from a number or an ISO date."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
