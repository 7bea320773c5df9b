"""Builds a run's report: the page, the data files of its examples, the gate's decisions, and the
leaderboard as Markdown, CSV and JSON. Reads the run directory and nothing else.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from evals.report.answers.kept import Summaries
from evals.report.facts import Facts
from evals.report.facts.about import about
from evals.report.facts.benchmarks import benchmark_facts
from evals.report.facts.conclusion import conclusion
from evals.report.facts.pairs import pairs
from evals.report.facts.progress import progress
from evals.report.facts.rows import rows
from evals.report.facts.settings import table
from evals.report.facts.spent import total_cost
from evals.report.facts.training import training
from evals.report.files import slug, write_text
from evals.report.formats.gate import markdown_of
from evals.report.formats.leaderboard import to_csv, to_json
from evals.report.formats.markdown import to_markdown
from evals.report.page.browser import write_browser
from evals.report.page.layout import lay_out, write_page
from evals.report.page.section import sections
from evals.report.run import Run, read_run


def build_report(root: Path) -> Path:
    """Writes `report/` into the run and returns the path of its page. A run that is unfinished, or
    failed, has a report too. Answers that did not change since the last report are not read again.

        page = build_report(Path("runs/quickstart-0"))  # runs/quickstart-0/report/index.html

    Raises: EvalError where the folder is no run.
    """
    run = read_run(root)
    folder = root / "report"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder / "data", {slug(name) for name in run.benchmarks})
    summaries = {
        name: summary
        for name in run.benchmarks
        if (summary := write_browser(run, name, folder)) is not None
    }
    facts = facts_of(run, folder, summaries)
    write_text(folder / "gate.md", markdown_of(run))
    write_text(folder / "leaderboard.md", to_markdown(run, facts.rows, facts.conclusion))
    write_text(folder / "leaderboard.csv", to_csv(facts.rows))
    write_text(folder / "leaderboard.json", to_json(run, facts.rows))
    text = lay_out(sections(facts), title=run.name, is_running=run.is_running)
    write_page(folder, text)
    return folder / "index.html"


def facts_of(run: Run, folder: Path, summaries: Summaries) -> Facts:
    """Computes once what the sections need. `summaries` was computed from the stored
    answers by `write_browser`."""
    found = rows(run)
    cost = total_cost(run)
    return Facts(
        run=run,
        folder=folder,
        rows=found,
        summaries=summaries,
        benchmarks=[benchmark_facts(run, found, name, summaries) for name in run.benchmarks],
        pairs=pairs(run, folder),
        settings=[table(run, name) for name in run.benchmarks],
        cost=cost,
        training=[drawn for item in cost.stages if (drawn := training(item.stage, item.seconds))],
        progress=progress(run),
        conclusion=conclusion(run, found, summaries),
        about=about(run),
    )


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Data of benchmarks that the run no longer has."""
    for old in folder.glob("*/"):
        if old.name not in kept:
            shutil.rmtree(old)
