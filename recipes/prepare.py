"""Everything that can be wrong before an engine starts: placement, run folder, model, data,
rewards, benchmarks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.base import Benchmark, BenchmarkConfig, Item, get_benchmark
from evals.contamination import without_images
from recipes.build import Eyes, local_placement, open_eyes, prompts_of
from recipes.config import Recipe, StageSection
from rewards.base import Rubric
from rewards.worker import check_on_two_rows
from rl.core import Sample
from rl.data.formats import Reading, load_records
from rl.data.sources import DataSource
from rl.errors import ConfigError

PAIR_FILES = {"preference": "preference.jsonl", "labelled": "labelled.jsonl"}


@dataclass(frozen=True)
class LoadedBenchmark:
    """A benchmark with its items, both parts."""

    config: BenchmarkConfig
    benchmark: Benchmark
    items: Sequence[Item]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What a run reads from files. `records` holds the rows of every stage that reads files."""

    records: dict[str, list[Any]] = field(default_factory=dict)
    benchmarks: tuple[LoadedBenchmark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prepared(Questions):
    """What a run needs besides engines."""

    eyes: Eyes
    prompts: tuple[Sample, ...] = ()


def prepare(recipe: Recipe, *, rejects: Path | None = None, is_here: bool = True) -> Prepared:
    """Opens and checks everything; bad rows are listed in `rejects`/<stage>.jsonl. `is_here`:
    whether this machine is to carry the actors.

    Raises: ConfigError, DataError or ModelError, one clear line each.
    """
    if is_here and recipe.runtime.address is None and "RAY_ADDRESS" not in os.environ:
        local_placement(recipe)
    eyes = open_eyes(recipe)
    records = {}
    for stage in recipe.stages:
        if all(source.stage is None for source in stage.data):
            listed = None if rejects is None else rejects / f"{stage.name}.jsonl"
            records[stage.name] = load(recipe, stage.data, stage.reading, rejects=listed)
        if stage.all_rewards:
            rubric = Rubric(stage.all_rewards)
            check_on_two_rows(rubric, prompts_of(records.get(stage.name, [])[:2]))
    benchmarks = open_benchmarks(recipe)
    prompts = [prompt for rows in records.values() for prompt in prompts_of(rows)]
    prompts += [item.sample for loaded in benchmarks for item in loaded.items]
    return Prepared(eyes=eyes, records=records, benchmarks=benchmarks, prompts=tuple(prompts))


def open_benchmarks(recipe: Recipe) -> tuple[LoadedBenchmark, ...]:
    """Every benchmark with its items. Raises: ConfigError, DataError."""
    opened = tuple(_open_benchmark(config) for config in recipe.evals.benchmarks)
    for loaded in opened:
        if loaded.benchmark.needs_judge and recipe.evals.judge is None:
            raise ConfigError(
                "its rule needs a judge",
                where=f"evals.benchmarks.{loaded.config.name}",
                expected="evals.judge.path (a model folder) or evals.judge.endpoint",
            )
    return opened


def load(
    recipe: Recipe, sources: Sequence[DataSource], reading: Reading, *, rejects: Path | None = None
) -> list[Any]:
    """Rows of files as records, judged as the recipe's `data:` says."""
    return load_records(
        sources,
        reading,
        base=Path(),
        on_bad_row=recipe.data.on_bad_row,
        max_bad_rows=recipe.data.max_bad_rows,
        rejects=rejects,
        seed=recipe.run.seed,
    )


def stage_sources(stage: StageSection, run: Path) -> list[DataSource]:
    """A stage's sources with `{stage: pairs}` turned into the file that the sample stage wrote."""
    found = []
    for source in stage.data:
        if source.stage is None:
            found.append(source)
            continue
        if stage.reading not in PAIR_FILES:
            raise ConfigError(
                f"a sample stage writes no rows for {stage.algorithm.name}",
                where=f"stages.{stage.name}.data",
                expected=f"a file, or an algorithm that reads {' or '.join(PAIR_FILES)}",
            )
        path = run / "stages" / source.stage / "data" / PAIR_FILES[stage.reading]
        found.append(source.model_copy(update={"stage": None, "path": str(path)}))
    return found


def _open_benchmark(config: BenchmarkConfig) -> LoadedBenchmark:
    benchmark = get_benchmark(config.name)
    items = benchmark.load(
        config.path_for(benchmark), profile=config.profile, prompt=config.prompt, limit=config.limit
    )
    if config.no_images:
        items = without_images(items)
    return LoadedBenchmark(config, benchmark, items)
