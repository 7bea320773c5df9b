"""What several sections of the report need, computed once from the records of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # types alone: a section imports what it calls
    from evals.report.answers.kept import Summaries
    from evals.report.facts.benchmarks import BenchmarkFacts
    from evals.report.facts.conclusion import Conclusion
    from evals.report.facts.pairs import Table as PairTable
    from evals.report.facts.progress import Progress
    from evals.report.facts.rows import Row
    from evals.report.facts.settings import Table as SettingTable
    from evals.report.facts.spent import Total
    from evals.report.facts.training import Training
    from evals.report.run import Run


@dataclass(frozen=True)
class Facts:
    """The run and everything computed from it. `evals.report.build` makes it; every section reads
    it and changes nothing.

        def section(facts: Facts) -> Section | None:
            scores = [row.value for row in facts.rows if row.benchmark == "mme"]
    """

    run: Run
    folder: Path  # the report's folder
    rows: list[Row]  # the leaderboard: one row per stage and benchmark
    summaries: Summaries  # benchmark -> what was computed from its stored answers
    benchmarks: list[BenchmarkFacts]
    pairs: dict[str, PairTable]  # benchmark -> tests of any two stages
    settings: list[SettingTable]  # a table per benchmark
    cost: Total
    training: list[Training]
    progress: list[Progress]  # stages that log an objective, with their scores
    conclusion: Conclusion
    about: list[str]
