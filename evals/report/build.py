"""Builds a run's report: the page, and the leaderboard as Markdown, CSV and JSON. Reads the run
directory and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from evals.report import leaderboard
from evals.report.examples import browse, copy_images
from evals.report.markdown import to_markdown
from evals.report.page import render
from evals.report.run import read_run


def build_report(run: Path) -> Path:
    """Writes `report/` into the run and returns the page's path. A run that is unfinished, or
    failed, has a report too.

    Raises: EvalError where the folder is no run.
    """
    found = read_run(run)
    rows = leaderboard.rows(found)
    browsers = [browser for name in found.benchmarks if (browser := browse(found, name))]
    folder = run / "report"
    folder.mkdir(parents=True, exist_ok=True)
    images = copy_images(found, browsers, folder / "images")
    _write(folder / "leaderboard.md", to_markdown(found, rows))
    _write(folder / "leaderboard.csv", leaderboard.to_csv(rows))
    _write(folder / "leaderboard.json", leaderboard.to_json(found, rows))
    page = folder / "index.html"
    _write(page, render(found, rows, browsers, images))
    return page


def _write(path: Path, text: str) -> None:
    """Whole or not at all: the page may be open in a browser while it is written. Lone surrogates
    become question marks.
    """
    aside = path.with_name(f".{path.name}.writing")
    aside.write_bytes(text.encode("utf-8", "replace"))
    os.replace(aside, path)
