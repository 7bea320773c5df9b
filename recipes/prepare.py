"""Everything that can be wrong before an engine starts: placement, run folder, model, data, rewards, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.base import Benchmark, BenchmarkConfig, Item
from evals.benchmarks import open_benchmark
from recipes.build import Eyes, local_placement, open_eyes, probes
from recipes.config import Recipe, StageSection, StageSource
from rewards.base import Rubric, check_on_two_rows
from rl.core import Labelled, Preference, Sample
from rl.data.formats import load_records
from rl.data.sources import DataSource
from rl.errors import ConfigError

Record = Sample | Preference | Labelled
PAIR_FILES = {"preference": "preference.jsonl", "labelled": "labelled.jsonl"}


@dataclass(frozen=True)
class LoadedBenchmark:
    """A benchmark with its items, both parts."""

    config: BenchmarkConfig
    benchmark: Benchmark
    items: Sequence[Item]


@dataclass(frozen=True)
class Prepared:
    """What a run needs besides engines. `records` holds the rows of every stage that reads files."""

    eyes: Eyes
    records: dict[str, list[Record]] = field(default_factory=dict)
    benchmarks: tuple[LoadedBenchmark, ...] = ()
    probes: tuple[Sample, ...] = ()


def prepare(recipe: Recipe, *, rejects: Path | None = None) -> Prepared:
    """Opens and checks everything. Raises: ConfigError, DataError or ModelError, one clear line each."""
    if recipe.runtime.address is None:
        local_placement(recipe)
    eyes = open_eyes(recipe)
    records = {}
    for stage in recipe.stages:
        if not any(isinstance(source, StageSource) for source in stage.data):
            sources = [source for source in stage.data if isinstance(source, DataSource)]
            records[stage.name] = load(recipe, sources, stage.reading, rejects=rejects)
        if stage.all_rewards:
            rubric = Rubric(stage.all_rewards)
            check_on_two_rows(rubric, samples_of(records.get(stage.name, []))[:2])
    benchmarks = tuple(
        LoadedBenchmark(config, *open_benchmark(config)) for config in recipe.evals.benchmarks
    )
    seen = [sample for rows in records.values() for sample in samples_of(rows)]
    seen += [item.sample for loaded in benchmarks for item in loaded.items[:64]]
    return Prepared(eyes, records, benchmarks, tuple(probes(_prompts(seen))))


def load(
    recipe: Recipe, sources: Sequence[DataSource], reading: str, *, rejects: Path | None = None
) -> list[Record]:
    """Rows of files as records, judged as the recipe's `data:` says."""
    records: list[Record] = load_records(
        sources,
        reading,
        base=Path(),
        on_bad_row=recipe.data.on_bad_row,
        max_bad_rows=recipe.data.max_bad_rows,
        rejects=rejects,
        seed=recipe.run.seed,
    )
    return records


def stage_sources(stage: StageSection, run: Path) -> list[DataSource]:
    """A stage's sources with `{stage: pairs}` turned into the file that the sample stage wrote."""
    found = []
    for source in stage.data:
        if isinstance(source, StageSource):
            if stage.reading not in PAIR_FILES:
                raise ConfigError(
                    f"a sample stage writes no rows for {stage.algorithm.name}",
                    where=f"stages.{stage.name}.data",
                    expected=f"a file, or an algorithm that reads {' or '.join(PAIR_FILES)}",
                )
            path = run / "stages" / source.stage / "data" / PAIR_FILES[stage.reading]
            found.append(DataSource(path=str(path)))
        else:
            found.append(source)
    return found


def samples_of(records: Sequence[Any]) -> list[Sample]:
    """The prompts of records of any kind."""
    return [record if isinstance(record, Sample) else record.sample for record in records]


def _prompts(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without a last assistant turn, as an engine is asked."""
    from dataclasses import replace

    return [
        replace(sample, messages=sample.messages[:-1])
        if sample.messages and sample.messages[-1].role == "assistant"
        else sample
        for sample in samples
        if len(sample.messages) > 1 or sample.messages[-1].role != "assistant"
    ]
