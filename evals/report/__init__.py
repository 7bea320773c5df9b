"""The leaderboard and the HTML page, read from the run directory alone."""

from evals.report.build import build_report

__all__ = ["build_report"]
