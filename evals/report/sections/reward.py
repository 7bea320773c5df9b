"""What training raises, beside what is measured."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """The objective of each stage and the benchmarks over the same steps."""
    return Section("reward", "Reward", 70, {"rewards": facts.progress}, template="reward.html.j2")
