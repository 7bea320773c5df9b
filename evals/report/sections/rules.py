"""Rule sensitivity: the stored answers scored again under every profile of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.base import Benchmark
from evals.report.facts import Facts
from evals.report.facts.stored import files_of, judge_of, signature, stages_of
from evals.report.files import kept_or_made, slug
from evals.report.page.section import Section
from evals.report.run import Run, read_lines
from evals.scoring.samples import score_rows
from rl.errors import PlumblineError

SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One stage under one profile: the benchmark's own statistic, and how many questions score
    differently than in the result.
    """

    value: float | None
    differ: int
    problem: str = ""


@dataclass(frozen=True)
class Rules:
    """A benchmark's stages under each of its profiles. `reported` is the profile of the results."""

    stages: tuple[str, ...]
    profiles: tuple[str, ...]
    reported: str
    cells: dict[str, dict[str, Cell]]  # profile -> stage -> cell
    turned: tuple[
        tuple[str, str], ...
    ]  # (profile, stage) whose change has another sign than reported

    def change(self, profile: str, stage: str, parent: str | None) -> float | None:
        """The difference with the parent under a profile."""
        cells = self.cells[profile]
        if parent not in cells or stage not in cells:
            return None
        now, before = cells[stage].value, cells[parent].value
        return None if now is None or before is None else now - before


def section(facts: Facts) -> Section | None:
    """A table per benchmark that has more than one rule."""
    tables = {
        name: table
        for name in facts.run.benchmarks
        if (table := rules(facts.run, name, facts.folder)) is not None
    }
    values = {"benchmarks": facts.benchmarks, "rules": tables}
    return Section("rules", "Rules", 60, values, template="rules.html.j2")


def rules(run: Run, benchmark: str, folder: Path) -> Rules | None:
    """The table of a benchmark; None where its rule is not known here or has one profile. Kept in
    `folder` (the report's) and made again only when an answer changed.
    """
    stages = stages_of(run, benchmark)
    judge = judge_of(run, benchmark)
    if judge is None or len(judge.profiles) < 2 or not stages:
        return None
    kept = folder / "data" / slug(benchmark) / "rules.json"
    key = [SCHEMA, judge.version, list(judge.profiles), signature(files_of(run, benchmark))]
    evals = run.root / "evals"
    scores = kept_or_made(
        kept,
        key,
        lambda: {
            stage.name: rescore(
                judge, evals / stage.name / benchmark, stage.results[benchmark].shown
            )
            for stage in stages
        },
    )
    return _table(run, benchmark, judge, scores)


def rescore(judge: Benchmark, folder: Path, part: str) -> dict[str, list[Any]]:
    """`{profile: [value, questions that differ, problem]}` of one stage's stored answers."""
    rows = [row for row in read_lines(folder / "responses.jsonl") if row.get("part") == part]
    before = {
        str(row.get("sample_id")): row.get("score") for row in read_lines(folder / "scores.jsonl")
    }
    by_profile: dict[str, list[Any]] = {}
    for profile in judge.profiles:
        try:
            scored = score_rows(judge, rows, profile)
            value = scored.value(judge.for_profile(profile), profile) if rows else None
        except (PlumblineError, KeyError) as error:
            by_profile[profile] = [None, 0, " ".join(str(error).split())[:200]]
            continue
        differ = sum(
            score.score is not None and score.score != before.get(str(row.get("sample_id")))
            for row, score in zip(rows, scored.scores, strict=True)
        )
        by_profile[profile] = [value, differ, ""]
    return by_profile


def _table(
    run: Run, benchmark: str, judge: Benchmark, found: Mapping[str, Mapping[str, Sequence[Any]]]
) -> Rules:
    stages = stages_of(run, benchmark)
    cells = {
        profile: {stage.name: Cell(*found[stage.name][profile]) for stage in stages}
        for profile in judge.profiles
    }
    reported = next((stage.results[benchmark].profile for stage in stages), "official")
    table = Rules(tuple(s.name for s in stages), tuple(judge.profiles), reported, cells, ())
    turned = [
        (profile, stage.name)
        for stage in stages
        for profile in judge.profiles
        if reported in cells
        and (ours := table.change(reported, stage.name, stage.parent)) is not None
        and (theirs := table.change(profile, stage.name, stage.parent)) is not None
        and ours * theirs < 0
    ]
    return Rules(table.stages, table.profiles, reported, cells, tuple(turned))
