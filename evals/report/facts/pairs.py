"""The paired test of any two stages on the part that is shown, by scoring stored answers again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.base import Benchmark
from evals.data.items import ItemScore
from evals.report.facts.rows import adjusted_verdict, unequal
from evals.report.facts.stored import files_of, judge_of, signature, stages_of
from evals.report.files import kept_or_made, slug
from evals.report.records import Interval
from evals.report.run import Run, Stage, read_lines
from evals.scoring.paired import statistics, strata_of, sums, verdict_of
from evals.scoring.samples import Scored, score_rows
from evals.scoring.significance import holm
from evals.scoring.stats import every_pair
from rl.errors import PlumblineError

SCHEMA = 2
Table = dict[tuple[str, str], "Tested"]  # (later, earlier) -> the test


@dataclass(frozen=True)
class Tested:
    """The later stage minus the earlier one, in the benchmark's own unit. `p_holm` is adjusted over
    the benchmarks on which the two were tested.
    """

    difference: float
    interval: Interval
    p_holm: float
    verdict: str


def pairs(run: Run, folder: Path) -> dict[str, Table]:
    """By benchmark, the tests of every two stages that answered the same questions under equal
    settings; pairs that are left out can be tested by `plumbline compare`. Kept in `folder` (the
    report's) and made again only when an answer changed.
    """
    raw = {name: _of(run, name, folder) for name in run.benchmarks}
    keys = list(dict.fromkeys(key for tests in raw.values() for key in tests))
    found: dict[str, Table] = {name: {} for name in run.benchmarks}
    for key in keys:
        adjusted = holm({name: tests[key][3] for name, tests in raw.items() if key in tests})
        for name, p_holm in adjusted.items():
            difference, low, high, p = raw[name][key]
            verdict = adjusted_verdict(verdict_of(difference, p), p_holm)
            found[name][key] = Tested(difference, (low, high), p_holm, verdict)
    return {name: table for name, table in found.items() if table}


def _of(run: Run, benchmark: str, folder: Path) -> dict[tuple[str, str], list[float]]:
    """(later, earlier) -> difference, ends of the interval and p-value on one benchmark."""
    judge, stages = judge_of(run, benchmark), stages_of(run, benchmark)
    if judge is None or len(stages) < 2:
        return {}
    kept = folder / "data" / slug(benchmark) / "pairs.json"
    key = [SCHEMA, judge.version, signature(files_of(run, benchmark))]
    tests = kept_or_made(kept, key, lambda: _tested(run, benchmark, judge, stages))
    return {(later, earlier): figures for later, earlier, figures in tests}


def _tested(
    run: Run, benchmark: str, judge: Benchmark, stages: Sequence[Stage]
) -> list[tuple[str, str, list[float]]]:
    found: list[tuple[str, str, list[float]]] = []
    for group in _comparable(benchmark, stages):
        first = group[0].results[benchmark]
        rules = judge.for_profile(first.profile)
        scored: dict[str, Scored] = {}
        for stage in group:
            path = run.root / "evals" / stage.name / benchmark / "responses.jsonl"
            rows = [row for row in read_lines(path) if row.get("part") == first.shown]
            with suppress(PlumblineError, KeyError):
                scored[stage.name] = score_rows(rules, rows, first.profile)
        found += _resampled(rules, _alike(scored))
    return found


def _comparable(benchmark: str, stages: Sequence[Stage]) -> list[list[Stage]]:
    """The stages in groups of equal settings."""
    groups: list[list[Stage]] = []
    for stage in stages:
        result = stage.results[benchmark]
        for group in groups:
            first = group[0].results[benchmark]
            if result.shown == first.shown and not unequal(result, first):
                group.append(stage)
                break
        else:
            groups.append([stage])
    return groups


def _alike(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """The stages that answered the same questions as most stages did, all in the same order: only
    then can the same resamples of images be used for all of them.
    """
    ids = {
        name: [(str(row["sample_id"]), score.score is None) for row, score in _rows(side)]
        for name, side in scored.items()
    }
    sets = [frozenset(mine) for mine in ids.values() if not all(failed for _, failed in mine)]
    most = max(sets, key=sets.count, default=frozenset())
    found: dict[str, Scored] = {}
    order: list[tuple[str, bool]] = []
    for name, side in scored.items():
        if most and frozenset(ids[name]) == most:
            order = order or ids[name]
            where = {uid: number for number, uid in enumerate(ids[name])}
            found[name] = side.at([where[uid] for uid in order])
    return found


def _rows(scored: Scored) -> Iterator[tuple[Mapping[str, Any], ItemScore]]:
    return zip(scored.rows, scored.scores, strict=True)


def _resampled(
    judge: Benchmark, scored: Mapping[str, Scored]
) -> list[tuple[str, str, list[float]]]:
    if len(scored) < 2:
        return []
    names, sides = list(scored), list(scored.values())
    rows = sides[0].rows
    layout = judge.layout(rows)
    found = every_pair(
        [sums(judge, side.over(rows), layout) for side in sides],
        [side.statistic(statistics(judge)) for side in sides],
        strata=strata_of(sides[0], layout),
    )
    return [
        (names[later], names[earlier], [one.value, one.low, one.high, one.p_value])
        for (later, earlier), (one, _) in found.items()
    ]
