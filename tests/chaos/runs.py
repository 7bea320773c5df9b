"""Small real runs for the chaos tests: the page, the command, what it told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from recipes.schema.recipe import Recipe, resolved
from rl.runs.metrics import read_metrics
from tests.recipes.test_resume import recipe


def page(
    model: Path, data: Path, root: Path, name: str, stages: Sequence[str], **stage: Any
) -> Recipe:
    """Without evaluation; the first of these stages starts from the base model."""
    whole = recipe(model, data, root, name, eval_every=None, keep_best=False, **stage)
    kept = [found for found in whole.stages if found.name in stages]
    kept[0] = kept[0].model_copy(update={"from_": "base"})
    return whole.model_copy(update={"stages": tuple(kept)})


def write(page: Recipe, root: Path, *overrides: tuple[str, str, Any]) -> Path:
    """The page as a file; an override is (section, key, value)."""
    found = yaml.safe_load(resolved(page))
    for section, key, value in overrides:
        found[section][key] = value
    path = root / f"{page.run.name}.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


def start(path: Path, *, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """`plumbline run PAGE --resume`; what it prints goes to the page's .log file."""
    log = path.with_suffix(".log").open("ab")
    command = [str(Path(sys.executable).parent / "plumbline"), "run", str(path), "--resume"]
    return subprocess.Popen([*before, *command], stdout=log, stderr=log, start_new_session=True)


def last_step(run: Path, stage: str) -> int:
    """The last step of a stage so far, 0 before the first."""
    rows = read_metrics(run / "stages" / stage / "metrics.jsonl")
    return max((int(row["step"]) for row in rows), default=0)


def goes_on(path: Path, run: Path, stage: str, *, before: Sequence[str] = ()) -> None:
    """The same command again takes the stage a step further, and ends with 0 when told to stop."""
    reached = last_step(run, stage)
    driver = start(path, before=before)
    while driver.poll() is None and last_step(run, stage) <= reached:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=300) == 0, path.with_suffix(".log").read_text()
    assert last_step(run, stage) > reached


def events(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The events so far, those of one kind where it is named."""
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in found if kind is None or event["event"] == kind]
