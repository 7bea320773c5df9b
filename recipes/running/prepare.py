"""Everything that can be wrong before an engine starts: placement, run folder, model, data,
rewards, benchmarks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.base import Benchmark, BenchmarkConfig
from evals.contamination.search import without_images
from evals.data.items import Item
from evals.registry import get_benchmark
from evals.scoring.results import MAX_ERROR_SHARE
from recipes.engines.prompts import open_renderer, prompts_of
from recipes.planning.actors import local_placement
from recipes.planning.sizes import is_config_alone
from recipes.schema.faults import Faults
from recipes.schema.kinds import AnyStage
from recipes.schema.recipe import Recipe
from recipes.schema.sample_stage import SampleStage
from recipes.schema.stage import BASE
from recipes.schema.train_stage import TrainStage
from rewards.base import Rubric
from rewards.worker import check_on_two_rows
from rl.core import Sample
from rl.data.load import load_records
from rl.data.rows import Reading
from rl.data.sources import DataSource
from rl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rl.data.render import Renderer

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

    renderer: Renderer
    prompts: tuple[Sample, ...] = ()


def prepare(
    recipe: Recipe,
    *,
    rejects: Path | None = None,
    is_here: bool = True,
    faults: Faults | None = None,
) -> Prepared:
    """Opens and checks everything; bad rows are listed in `rejects`/<stage>.jsonl. `is_here`:
    whether this machine is to carry the actors. `faults` were found before.

    Raises: ConfigError, DataError or ModelError with a line for each fault.
    """
    faults, renderer = faults or Faults(), None
    if is_here and recipe.runtime.address is None and "RAY_ADDRESS" not in os.environ:
        if recipe.hardware.gpus:  # on a machine without them nothing else is worth telling
            local_placement(recipe)
        with faults.at():
            local_placement(recipe)
    with faults.at(recipe.where("model.path")):
        renderer = open_renderer(recipe)
    if renderer is None and is_config_alone(Path(recipe.model.path)):
        faults.raise_if_any()  # this recipe is only planned here, and runs on another machine
    records: dict[str, list[Any]] = {}
    for stage in recipe.stages:
        with faults.at(recipe.where(f"stages.{stage.name}.data")):
            stage_sources(stage, Path())
            if all(source.stage is None for source in stage.data):
                listed = None if rejects is None else rejects / f"{stage.name}.jsonl"
                records[stage.name] = load(recipe, stage.data, stage.reading, rejects=listed)
        _check_rewards(recipe, stage, prompts_of(records.get(stage.name, [])), faults)
    benchmarks = open_benchmarks(recipe, faults)
    _check_evaluation(recipe, faults)
    faults.raise_if_any()
    assert renderer is not None
    prompts = [prompt for rows in records.values() for prompt in prompts_of(rows)]
    prompts += [item.sample for loaded in benchmarks for item in loaded.items]
    return Prepared(
        renderer=renderer, records=records, benchmarks=benchmarks, prompts=tuple(prompts)
    )


def _check_rewards(recipe: Recipe, stage: AnyStage, rows: Sequence[Sample], faults: Faults) -> None:
    """Builds each reward, looks for its columns in every row, and runs all of them on two."""
    key = f"stages.{stage.name}.{stage.rewards_key}"
    known = len(faults.errors)
    for number, config in enumerate(stage.reward_configs):
        try:
            Rubric([config]).check(rows, MAX_ERROR_SHARE)
        except ConfigError as error:
            with faults.at(recipe.where(f"{key}.{number}.{error.key}".rstrip("."))):
                raise
    if stage.reward_configs and len(faults.errors) == known:
        with faults.at(recipe.where(key)):
            check_on_two_rows(Rubric(stage.reward_configs), rows[:2])


def _check_evaluation(recipe: Recipe, faults: Faults) -> None:
    """Whether what decides by evaluation has something to decide by. `benchmarks: []` is the way to
    leave evaluation out for once.
    """
    is_evaluated = bool(recipe.evals.benchmarks)
    unused = []
    if recipe.says("evals.gate") and not recipe.says("evals.benchmarks"):
        unused.append("evals.gate")
    for stage in recipe.stages:
        key = f"stages.{stage.name}"
        asks = isinstance(stage, TrainStage) and stage.eval_every is not None
        if asks and not (is_evaluated or recipe.says("evals.benchmarks")):
            unused.append(f"{key}.eval_every")
        blind = [name for name in stage.parents if not _is_scored(recipe, name)]
        if stage.chooses_best and len(stage.parents) > 1 and (blind or not is_evaluated):
            unused.append(f"{key}.from")
    for key in unused:
        with faults.at(recipe.where(key)):
            raise ConfigError(
                "decides by evaluation, and there is none",
                expected="evals.benchmarks, and stages without `evaluate: false`",
                do="add the benchmarks, or take the key out",
            )


def _is_scored(recipe: Recipe, name: str) -> bool:
    if name == BASE:
        return recipe.evals.evaluate_base
    stage = recipe.stage(name)
    return isinstance(stage, TrainStage) and stage.evaluate


def open_benchmarks(recipe: Recipe, faults: Faults | None = None) -> tuple[LoadedBenchmark, ...]:
    """Every benchmark with its items. Raises: ConfigError, DataError; with `faults` they are
    gathered there.
    """
    gathered, opened = faults or Faults(), []
    seen: dict[str, int] = {}
    for number, config in enumerate(recipe.evals.benchmarks):
        key = f"evals.benchmarks.{number}"
        with gathered.at(recipe.where(key)):
            loaded = _open_benchmark(config, has_judge=recipe.evals.judge is not None)
            if (first := seen.setdefault(loaded.benchmark.id, number)) != number:
                raise ConfigError(
                    f"benchmark {loaded.benchmark.id} is evals.benchmarks.{first} too",
                    expected="each benchmark once: its answers lie in a folder of its name",
                    do="remove one of the two, or give it another name in its own file",
                )
            opened.append(loaded)
    if faults is None:
        gathered.raise_if_any()
    return tuple(opened)


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


def stage_sources(stage: AnyStage, run: Path) -> list[DataSource]:
    """A stage's sources with `{stage: pairs}` turned into the file that the sample stage wrote."""
    found = []
    for source in stage.data:
        if source.stage is None:
            found.append(source)
            continue
        if stage.reading not in PAIR_FILES:
            raise ConfigError(
                f"a sample stage writes no rows for {_kind(stage)}",
                expected=f"a file, or an algorithm that reads {' or '.join(PAIR_FILES)}",
                do="give the stage a file, or another algorithm",
            )
        path = run / "stages" / source.stage / "data" / PAIR_FILES[stage.reading]
        found.append(source.model_copy(update={"stage": None, "path": str(path)}))
    return found


def _kind(stage: AnyStage) -> str:
    return "another sample stage" if isinstance(stage, SampleStage) else str(stage.algorithm.name)


def _open_benchmark(config: BenchmarkConfig, *, has_judge: bool) -> LoadedBenchmark:
    benchmark = get_benchmark(config.name)
    if benchmark.needs_judge and not has_judge:
        raise ConfigError(
            "its rule needs a judge",
            expected="evals.judge.path (a model folder) or evals.judge.endpoint",
            do="add evals.judge to the recipe, or leave the benchmark out",
        )
    items = benchmark.load(
        config.path_for(benchmark), profile=config.profile, prompt=config.prompt, limit=config.limit
    )
    if config.no_images:
        items = without_images(items)
    lacking = [item for item in items if item.problem]
    if len(lacking) > MAX_ERROR_SHARE * len(items):
        raise DataError(
            f"{lacking[0].problem}; {len(lacking)} of {len(items)} rows lack theirs",
            where=lacking[0].place,
            expected=f"at most {MAX_ERROR_SHARE:.0%}",
            do="fetch the images (paths are relative to the data file), or remove the rows",
        )
    return LoadedBenchmark(config, benchmark, items)
