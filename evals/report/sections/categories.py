"""Accuracy by category, or by kind of question."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """A panel per category with a bar per stage."""
    values = {"benchmarks": facts.benchmarks}
    return Section("categories", "Categories", 40, values, template="categories.html.j2")
