"""Reads what was computed from the answers of a benchmark and kept between two reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.report.answers import groups, moves, skills
from evals.report.answers.turned import Turned, from_lists
from evals.report.records import Interval, Result
from evals.report.run import Run, Stage

Summaries = Mapping[str, Mapping[str, Any]]  # benchmark -> what was computed from its answers


def split_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> moves.Split | None:
    """The split of one difference, from what is kept of the answers."""
    found = summaries.get(benchmark, {}).get("splits", {})
    return moves.from_dict(found.get(f"{stage}\n{other}"))


def turned_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> dict[str, Turned]:
    """By category, which answers turned, from what is kept of the answers."""
    return from_lists(summaries.get(benchmark, {}).get("turned", {}).get(f"{stage}\n{other}"))


def tallies_of(
    summaries: Summaries, benchmark: str, stage: str, other: str | None
) -> dict[str, groups.Tally]:
    """By category, what became of score and content, from what is kept of the answers."""
    return groups.tallies_from(
        summaries.get(benchmark, {}).get("tallies", {}).get(f"{stage}\n{other}")
    )


def shares_of(summaries: Summaries, benchmark: str, stage: str) -> dict[str, groups.Share]:
    """By category, a stage's score and content, from what is kept of the answers."""
    return groups.shares_from(summaries.get(benchmark, {}).get("shares", {}).get(stage))


def floors_of(summaries: Summaries, benchmark: str) -> dict[str, skills.Floor]:
    """By category, what always giving one answer is right on."""
    kept = summaries.get(benchmark, {}).get("baselines", {})
    return {category: skills.Floor(*found) for category, found in kept.items()}


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


def _now(summaries: Summaries, benchmark: str, result: Result) -> dict[str, Interval]:
    """The interval of a stage's content in every category."""
    found = shares_of(summaries, benchmark, result.stage)
    if found:
        return {category: one.content_interval for category, one in found.items()}
    categories = result.part.categories.items()
    return {category: one.interval for category, one in categories if one.interval}
