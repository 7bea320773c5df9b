"""Builds a run's report: the page, the browser's data, the gate's decisions, and the leaderboard as
Markdown, CSV and JSON. Reads the run directory and nothing else.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from evals.report import leaderboard
from evals.report.browser import slug, write_browser, write_script
from evals.report.conclusion import conclusion
from evals.report.files import write_text
from evals.report.gate import markdown_of
from evals.report.markdown import to_markdown
from evals.report.page import render
from evals.report.pairs import pairs
from evals.report.rules import rules
from evals.report.run import read_run


def build_report(run: Path) -> Path:
    """Writes `report/` into the run and returns the page's path. A run that is unfinished, or
    failed, has a report too. Answers that are as they were the last time are not read again.

    Raises: EvalError where the folder is no run.
    """
    found = read_run(run)
    rows = leaderboard.rows(found)
    folder = run / "report"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder / "data", {slug(name) for name in found.benchmarks})
    told = {
        name: summary
        for name in found.benchmarks
        if (summary := write_browser(found, name, folder)) is not None
    }
    tables = {
        name: table
        for name in found.benchmarks
        if (table := rules(found, name, folder)) is not None
    }
    write_text(folder / "gate.md", markdown_of(found))
    came = conclusion(found, rows, told)
    write_text(folder / "leaderboard.md", to_markdown(found, rows, came))
    write_text(folder / "leaderboard.csv", leaderboard.to_csv(rows))
    write_text(folder / "leaderboard.json", leaderboard.to_json(found, rows))
    write_page(folder, render(found, rows, told, tables, pairs(found, folder)))
    return folder / "index.html"


def write_page(folder: Path, text: str) -> None:
    """Writes `index.html` with its stamp, and the stamp beside it: the page's own hash. An open
    page that finds another stamp beside it loads itself again.
    """
    stamp = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    write_text(folder / "index.html", text.replace('data-stamp=""', f'data-stamp="{stamp}"', 1))
    (folder / "data").mkdir(exist_ok=True)
    write_script(folder / "data" / "stamp.js", "stamp", stamp)


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Data of benchmarks that the run no longer has."""
    for old in folder.glob("*/"):
        if old.name not in kept:
            shutil.rmtree(old)
