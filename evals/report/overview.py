"""A stage in words: did it help, on which skill, by form or by sight, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evals.report import figures, groups, habits, moves, quoted, skills
from evals.report.choices import Choice, choice
from evals.report.leaderboard import Row
from evals.report.progress import Progress
from evals.report.quoted import Quote
from evals.report.records import Interval, Result
from evals.report.run import Run, Stage
from evals.report.sentences import Clause, Sentence, verdicts
from evals.report.spent import Spent
from evals.report.turned import Turned, from_lists

Summaries = Mapping[str, Mapping[str, Any]]  # benchmark -> what the browser's data told


@dataclass(frozen=True)
class Words:
    """What stands beside a stage's name; (benchmark, sentence) where it says of which."""

    stage: Stage
    clauses: tuple[Clause, ...]
    choice: Choice | None
    skills: list[tuple[str, list[str]]]
    why: list[tuple[str, str]]
    quotes: list[tuple[str, list[Quote]]]
    heldout: str
    reward: Progress | None
    cost: str


def overview(
    run: Run,
    rows: list[Row],
    summaries: Summaries,
    costs: Mapping[str, Spent],
    rewards: list[Progress],
) -> list[Words]:
    """Every stage of the run in words."""
    told = {sentence.stage: sentence for sentence in verdicts(run, rows)}
    beside = {item.stage.name: item for item in rewards}
    return [
        Words(
            stage=stage,
            clauses=told.get(stage.name, Sentence(stage.name, ())).clauses,
            choice=choice(run, stage),
            skills=_skills(run, stage, summaries),
            why=_why(run, stage, summaries),
            quotes=_quotes(run, stage, summaries),
            heldout=_heldout(stage),
            reward=beside.get(stage.name),
            cost=cost(costs[stage.name]),
        )
        for stage in run.stages
    ]


def _skills(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, list[str]]]:
    out = []
    for benchmark in run.benchmarks:
        if found := skills_of(run, stage, benchmark, summaries):
            told = turned_of(summaries, benchmark, stage.name, stage.parent)
            out.append((benchmark, skills.in_words(found, told)))
    return out


def skills_of(run: Run, stage: Stage, benchmark: str, summaries: Summaries) -> list[skills.Skill]:
    """What became of every category against the parent; empty where there are not two."""
    result = stage.results.get(benchmark)
    comparison = result.comparison("parent") if result else None
    if result is None or comparison is None:
        return []
    tallies = tallies_of(summaries, benchmark, stage.name, stage.parent)
    if len(tallies or comparison.flips_by_category) < 2:
        return []
    if tallies:
        floors, now = floors_of(summaries, benchmark), _now(summaries, benchmark, result)
        return skills.skills_of(tallies, floors, now)
    parent = run.stage(stage.parent)
    return skills.skills(comparison, result, parent.results.get(benchmark) if parent else None)


def _heldout(stage: Stage) -> str:
    """How a stage ranks the pairs that it was kept from; empty where none were kept."""
    told = stage.facts.get("heldout")
    right = told.get("implicit_reward_accuracy") if isinstance(told, dict) else None
    if not isinstance(right, int | float) or not told:
        return ""
    return (
        f"preference accuracy {figures.share(right)}: of {figures.count(told.get('pairs'))} pairs "
        "that no step trained on, the share whose chosen answer has the higher implicit reward"
    )


def _now(summaries: Summaries, benchmark: str, result: Result) -> dict[str, Interval]:
    """The interval of a stage's content in every category."""
    found = shares_of(summaries, benchmark, result.stage)
    if found:
        return {category: one.content_interval for category, one in found.items()}
    told = result.part.categories.items()
    return {category: one.interval for category, one in told if one.interval}


def _quotes(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, list[Quote]]]:
    """By benchmark, a few answers that turned against the parent."""
    key = f"{stage.name}\n{stage.parent}"
    found = [
        (name, quoted.from_lists(summaries.get(name, {}).get("quotes", {}).get(key)))
        for name in run.benchmarks
    ]
    return [(name, quotes) for name, quotes in found if quotes]


def _why(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, str]]:
    out = []
    for benchmark in run.benchmarks:
        result = stage.results.get(benchmark)
        parts = split_of(summaries, benchmark, stage.name, stage.parent)
        if result is not None and parts is not None:
            sentence = moves.in_words(parts, result.part.majority_baseline)
            told = summaries.get(benchmark, {}).get("habits", {})
            before, after = told.get(stage.parent), told.get(stage.name)
            changed = habits.in_words(before, after) if before and after else ""
            out.append((benchmark, f"{sentence}; {changed}" if changed else sentence))
    return out


def split_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> moves.Split | None:
    """The split of one difference, from what the browser's data told."""
    found = summaries.get(benchmark, {}).get("splits", {})
    return moves.from_dict(found.get(f"{stage}\n{other}"))


def turned_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> dict[str, Turned]:
    """By category, which answers turned, from what the browser's data told."""
    return from_lists(summaries.get(benchmark, {}).get("turned", {}).get(f"{stage}\n{other}"))


def tallies_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> dict[str, groups.Tally]:
    """By category, what became of score and content, from what the browser's data told."""
    return groups.tallies_from(
        summaries.get(benchmark, {}).get("tallies", {}).get(f"{stage}\n{other}")
    )


def shares_of(summaries: Summaries, benchmark: str, stage: str) -> dict[str, groups.Share]:
    """By category, a stage's score and content, from what the browser's data told."""
    return groups.shares_from(summaries.get(benchmark, {}).get("shares", {}).get(stage))


def floors_of(summaries: Summaries, benchmark: str) -> dict[str, skills.Floor]:
    """By category, what always giving one answer is right on."""
    told = summaries.get(benchmark, {}).get("baselines", {})
    return {category: skills.Floor(*found) for category, found in told.items()}


def cost(item: Spent) -> str:
    """Time over all parts, steps, answers and tokens of one stage, its evaluation included."""
    stage, parts = item.stage, []
    asked = sum(result.cost.seconds or 0.0 for result in stage.results.values())
    if item.seconds is not None:
        parts.append(_time(item))
    if stage.kind == "train" and stage.steps:
        parts.append(f"{figures.count(stage.steps)} steps{_redone(item)}")
    if item.sampled:
        of = f" to {figures.count(item.prompts)} prompts" if item.prompts else ""
        parts.append(f"{figures.count(item.sampled)} answers sampled{of}")
    if item.pairs is not None:
        more = f" and {figures.count(item.heldout)} held out" if item.heldout else ""
        parts.append(f"{figures.count(item.pairs)} pairs kept{more}")
    if item.forward:
        parts.append(f"{figures.count(item.forward)} tokens through the learner")
    if item.generated:
        parts.append(f"{figures.count(item.generated)} tokens sampled")
    if item.questions:
        parts.append(
            f"{figures.count(item.questions)} questions (report and select part) answered in "
            f"{figures.duration(asked)} of asking alone"
        )
    return ", ".join(parts)


def _time(item: Spent) -> str:
    text = ("at least " if item.is_at_least else "") + figures.duration(item.seconds)
    if len(item.parts) > 1:
        told = " + ".join(figures.duration(part.seconds) for part in item.parts)
        text += f" in {len(item.parts)} parts ({told})"
    return text


def _redone(item: Spent) -> str:
    if not item.redone.steps:
        return ""
    return f" and {item.redone.steps} done twice ({figures.duration(item.redone.seconds)})"
