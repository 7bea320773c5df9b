"""The scores of every stage on each benchmark, with their comparisons and the gate."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.facts.gate import beside
from evals.report.facts.sentences import detectable
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """A table per benchmark; below it what the gate compared, and any two stages tested."""
    values = {
        "benchmarks": facts.benchmarks,
        "pairs": facts.pairs,
        "place": facts.run.place,
        "beside": beside,
        "detectable": detectable,
    }
    return Section("scores", "Scores", 20, values, template="scores.html.j2")
