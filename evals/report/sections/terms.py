"""What each number on the page means."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """One sentence for each number."""
    return Section("terms", "Terms", 110, {}, template="terms.html.j2")
