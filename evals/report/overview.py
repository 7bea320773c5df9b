"""A stage in words: did it help, on which skill, by form or by sight, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evals.report import figures, moves, skills
from evals.report.leaderboard import Row
from evals.report.progress import Progress
from evals.report.run import Run, Stage
from evals.report.sentences import Clause, Sentence, verdicts
from evals.report.training import Training

Summaries = Mapping[str, Mapping[str, Any]]  # benchmark -> what the browser's data told


@dataclass(frozen=True)
class Words:
    """What stands beside a stage's name; (benchmark, sentence) where it says of which."""

    stage: Stage
    clauses: tuple[Clause, ...]
    skills: list[tuple[str, str]]
    why: list[tuple[str, str]]
    reward: Progress | None
    cost: str


def overview(
    run: Run,
    rows: list[Row],
    summaries: Summaries,
    trained: list[Training],
    rewards: list[Progress],
) -> list[Words]:
    """Every stage of the run in words."""
    told = {sentence.stage: sentence for sentence in verdicts(run, rows)}
    by_stage = {item.stage.name: item for item in trained}
    beside = {item.stage.name: item for item in rewards}
    return [
        Words(
            stage=stage,
            clauses=told.get(stage.name, Sentence(stage.name, ())).clauses,
            skills=_skills(run, stage),
            why=_why(run, stage, summaries),
            reward=beside.get(stage.name),
            cost=cost(stage, by_stage.get(stage.name)),
        )
        for stage in run.stages
    ]


def _skills(run: Run, stage: Stage) -> list[tuple[str, str]]:
    out = []
    parent = run.stage(stage.parent)
    for benchmark in run.benchmarks:
        result = stage.results.get(benchmark)
        comparison = result.comparison("parent") if result else None
        if result is None or comparison is None or len(comparison.flips_by_category) < 2:
            continue
        found = skills.skills(comparison, result, parent.results.get(benchmark) if parent else None)
        out.append((benchmark, skills.in_words(found)))
    return out


def _why(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, str]]:
    out = []
    for benchmark in run.benchmarks:
        result = stage.results.get(benchmark)
        parts = split_of(summaries, benchmark, stage.name, stage.parent)
        if result is not None and parts is not None:
            sentence = moves.in_words(parts, result.part.majority_baseline)
            habits = summaries.get(benchmark, {}).get("habits", {})
            before, after = habits.get(stage.parent), habits.get(stage.name)
            changed = moves.habits_in_words(before, after) if before and after else ""
            out.append((benchmark, f"{sentence}; {changed}" if changed else sentence))
    return out


def split_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> moves.Split | None:
    """The split of one difference, from what the browser's data told."""
    found = summaries.get(benchmark, {}).get("splits", {})
    return moves.from_dict(found.get(f"{stage}\n{other}"))


def cost(stage: Stage, trained: Training | None) -> str:
    """Time, steps and tokens of one stage, its evaluation included."""
    asked = sum(result.cost.questions or 0 for result in stage.results.values())
    spent = sum(result.cost.seconds or 0.0 for result in stage.results.values())
    parts = []
    whole = trained.seconds if trained else stage.seconds
    if whole is not None:
        parts.append(figures.duration(whole))
    if trained and stage.steps:
        parts.append(f"{figures.count(stage.steps)} steps")
    if trained and trained.forward:
        parts.append(f"{figures.count(trained.forward)} tokens through the learner")
    if trained and trained.generated:
        parts.append(f"{figures.count(trained.generated)} sampled")
    if asked:
        parts.append(f"{figures.count(asked)} questions answered in {figures.duration(spent)}")
    return ", ".join(parts)
