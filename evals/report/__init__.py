"""The leaderboard and the HTML page of a run, read from the run directory alone.

    from evals.report import build_report

    page = build_report(Path("runs/quickstart-0"))

Training calls these two functions. What they need is imported when they are called, so that
importing `evals.report` costs nothing.
"""

from __future__ import annotations

from pathlib import Path


def build_report(run: Path) -> Path:
    """Writes `report/` into the run and returns the path of its page.

    Raises: EvalError where the folder is no run.
    """
    from evals.report.build import build_report

    return build_report(run)


def gate_markdown(run: Path) -> str:
    """The gate's decisions of the run as Markdown, as in `report/gate.md`.

    Raises: EvalError where the folder is no run.
    """
    from evals.report.formats.gate import gate_markdown

    return gate_markdown(run)


__all__ = ["build_report", "gate_markdown"]
