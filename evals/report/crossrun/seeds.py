"""How far scores move when a recipe is trained again with another seed: runs of one recipe that
differ only in name and seed.
"""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.report.facts.rows import Row
from evals.report.run import Run

_OWN = ("name", "root", "seed")  # of a recipe's `run`: what may differ between its runs


@dataclass(frozen=True)
class Spread:
    """One stage on one benchmark over the seeds. `changes` are the differences with the parent."""

    stage: str
    benchmark: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]

    @property
    def values(self) -> list[float]:
        return [row.value for row in self.rows if row.value is not None]

    @property
    def changes(self) -> list[float]:
        against = [row.parent for row in self.rows if row.parent]
        return [other.difference for other in against if other.difference is not None]

    @property
    def parents(self) -> list[str]:
        return list(dict.fromkeys(row.parent.stage for row in self.rows if row.parent))

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def stdev(self) -> float:
        return statistics.stdev(self.values)

    @property
    def half(self) -> float | None:
        """The mean half width of one run's 95 % interval: the uncertainty from questions alone."""
        halves = [(r.interval[1] - r.interval[0]) / 2 for r in self.rows if r.interval]
        return statistics.fmean(halves) if halves else None

    @property
    def risen(self) -> int:
        return sum(change > 0 for change in self.changes)

    @property
    def mean_change(self) -> float | None:
        return statistics.fmean(self.changes) if self.changes else None

    @property
    def stdev_change(self) -> float | None:
        return statistics.stdev(self.changes) if len(self.changes) > 1 else None


def spreads(runs: Sequence[tuple[Run, Sequence[Row]]]) -> list[Spread]:
    """Every trained stage and benchmark that a recipe's runs with two or more seeds have in common;
    of runs with the same seed the first.
    """
    recipes: dict[str, dict[int, Sequence[Row]]] = {}
    for run, rows in runs:
        page = run.config.get("run")
        seed = page.get("seed") if isinstance(page, dict) else None
        if isinstance(seed, int):
            recipes.setdefault(_recipe(run), {}).setdefault(seed, rows)
    found = []
    for by_seed in recipes.values():
        seeds = tuple(sorted(by_seed))
        if len(seeds) < 2:
            continue
        tables = [
            {(row.benchmark, row.stage): row for row in by_seed[seed] if row.value is not None}
            for seed in seeds
        ]
        for key in tables[0]:
            rows = tuple(table[key] for table in tables if key in table)
            if len(rows) == len(seeds) and rows[0].parent and not _are_unlike(rows):
                found.append(Spread(key[1], key[0], rows, seeds))
    return found


def as_dicts(found: Sequence[Spread]) -> list[dict[str, Any]]:
    """Their form in the leaderboard.json of the index."""
    return [
        {
            "benchmark": one.benchmark,
            "stage": one.stage,
            "seeds": list(one.seeds),
            "values": one.values,
            "mean": one.mean,
            "stdev": one.stdev,
            "changes": one.changes,
        }
        for one in found
    ]


def _recipe(run: Run) -> str:
    """The resolved recipe without name, folder and seed of the run, as text."""
    page = copy.deepcopy(run.config)
    if isinstance(page.get("run"), dict):
        for key in _OWN:
            page["run"].pop(key, None)
    return json.dumps(page, sort_keys=True, default=str)


def _are_unlike(rows: Sequence[Row]) -> bool:
    """Whether they answered other questions, or were scored by other rules."""
    kept = ("prompt_hash", "data_fingerprint", "max_pixels", "max_new_tokens", "temperature")
    settings = {
        (row.version, row.profile, row.part, *(str(row.settings.get(key)) for key in kept))
        for row in rows
    }
    return len(settings) > 1
