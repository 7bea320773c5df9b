"""Which answers changed between a stage and its parent, and why the score moved."""

from __future__ import annotations

from evals.report.answers import habits
from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """Turned answers, the difference as a sum, and how each stage answers."""
    values = {"benchmarks": facts.benchmarks, "never_in_words": habits.never_in_words}
    return Section("changes", "Changes", 30, values, template="changes.html.j2")
