"""The curves of training, and where the time of each stage went."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """A small curve per metric, the important ones first."""
    values = {"training": facts.training}
    return Section("training", "Training", 80, values, template="training.html.j2")
