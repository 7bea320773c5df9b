"""What the run cost: time, steps, answers, tokens."""

from __future__ import annotations

from evals.report.facts import Facts
from evals.report.facts.spent import asked, reached
from evals.report.page.section import Section


def section(facts: Facts) -> Section | None:
    """Tables of stages, of the speed of training, and of evaluation."""
    run = facts.run
    values = {
        "total": facts.cost,
        "reached": {stage.name: reached(run, facts.cost, stage.name) for stage in run.stages},
        "training": facts.training,
        "asked": asked(run),
        "benchmarks": facts.benchmarks,
        "summaries": facts.summaries,
    }
    return Section("cost", "Cost", 90, values, template="cost.html.j2")
