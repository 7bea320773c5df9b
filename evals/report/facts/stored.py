"""What a run keeps of one benchmark: the stages that were scored, their files, the scoring rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from evals.base import Benchmark
from evals.registry import get_benchmark
from evals.report.run import Run, Stage
from rl.errors import PlumblineError


def stages_of(run: Run, benchmark: str) -> list[Stage]:
    """The stages that were scored on the benchmark, in order."""
    return [stage for stage in run.scored if benchmark in stage.results]


def files_of(run: Run, benchmark: str) -> list[Path]:
    """The files that the answers are read from."""
    return [
        run.root / "evals" / stage.name / benchmark / name
        for stage in stages_of(run, benchmark)
        for name in ("responses.jsonl", "scores.jsonl", "result.json")
    ]


def signature(files: Iterable[Path]) -> str:
    """A text that changes whenever one of the files does. It uses size and time of change; no file
    is read.
    """
    seen = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            seen.append([str(path.name), 0, 0])
        else:
            seen.append([str(path.name), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def judge_of(run: Run, benchmark: str) -> Benchmark | None:
    """The benchmark's rule: by its id, else by a file (YAML) that the recipe names. A report runs
    no code that a run folder names.
    """
    listed = run.config.get("evals")
    entries = listed.get("benchmarks") if isinstance(listed, dict) else None
    names = [str(entry.get("name")) for entry in entries or [] if isinstance(entry, dict)]
    for name in [benchmark, *(name for name in names if name.endswith((".yaml", ".yml")))]:
        try:
            found = get_benchmark(name)
        except (PlumblineError, OSError, ImportError):
            continue
        if found.id == benchmark:
            return found
    return None
