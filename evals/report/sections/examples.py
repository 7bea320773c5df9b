"""Questions with the answer of every stage, loaded by the scripts of the page."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """The filters, and an empty list that the scripts fill from the data files."""
    values = {"benchmarks": facts.benchmarks, "summaries": facts.summaries}
    return Section("examples", "Examples", 50, values, template="examples.html.j2")
