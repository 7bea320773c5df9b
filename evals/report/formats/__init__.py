"""The leaderboard in other tools' files: a model card's `model-index`, and lmms-eval's results."""

from __future__ import annotations

import json
from pathlib import Path

from evals.report.facts.rows import rows as leaderboard_rows
from evals.report.files import slug, write_text
from evals.report.formats.lmms_layout import results_file
from evals.report.formats.model_card import model_index
from evals.report.run import read_run
from rl.errors import ConfigError

FORMATS = ("hf", "lmms-eval")


def require_format(name: str) -> None:
    """Raises: ConfigError for an unknown format."""
    if name not in FORMATS:
        raise ConfigError(
            f'no format called "{name}"',
            where="plumbline report --format",
            expected=" | ".join(FORMATS),
            do="name one of them",
        )


def write_format(root: Path, name: str) -> list[Path]:
    """Writes the report in another tool's format, one file per stage; returns their paths.

    Raises: ConfigError for an unknown format, EvalError where the folder is no run.
    """
    require_format(name)
    run = read_run(root)
    rows = leaderboard_rows(run)
    written = []
    for stage in run.scored:
        mine = [row for row in rows if row.stage == stage.name and row.value is not None]
        if not mine:
            continue
        if name == "hf":
            path = root / "report" / "hf" / f"{slug(stage.name)}.md"
            text = f"---\n{model_index(run, stage, mine)}\n---\n"
        else:
            found = results_file(run, stage, mine)
            folder = root / "report" / "lmms-eval" / slug(stage.name)
            path = folder / f"{found['date']}_results.json"
            text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        written.append(path)
    return written
