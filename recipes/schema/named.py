"""Checks what a recipe names outside itself (rewards, benchmarks, files), before it is built: so
these faults are reported together with those that keep the recipe from being built.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from evals.base import BenchmarkConfig
from evals.data.sources import require_data
from evals.registry import get_benchmark
from rewards.base import RewardConfig, Rubric
from rl.config import ConfigFile, Node, Problems, build
from rl.config_errors import place_of
from rl.data.sources import DataSource, require_source
from rl.errors import PlumblineError

Model = TypeVar("Model", bound=BaseModel)


def check_names(config: ConfigFile, problems: Problems) -> None:
    """Adds a line for each reward, benchmark and file that is not there, and for a parameter that
    its reward does not have.
    """
    for stage in config.section("stages").items():
        sample = stage.child("sample")
        for owner in (stage, sample) if sample is not None else (stage,):
            for node in _items(owner, "rewards"):
                _check(node, _reward, problems)
        for node in _items(stage, "data"):
            _check(node, _source, problems)
    for node in config.section("evals.benchmarks").items():
        _check(node, _benchmark, problems)


def _items(owner: Node, key: str) -> list[Node]:
    child = owner.child(key)
    return [] if child is None else child.items()


def _check(node: Node, check: Callable[[Node], None], problems: Problems) -> None:
    try:
        check(node)
    except PlumblineError as error:
        found = node.child(getattr(error, "key", "") or "name") or node.child("path") or node
        problems.add_error(error.at(place_of(found.where, found.key)))


def _built(cls: type[Model], node: Node) -> Model | None:
    """The section; None where it has faults, which have been reported already."""
    return build(cls, node, problems=Problems())


def _reward(node: Node) -> None:
    if (config := _built(RewardConfig, node)) is not None:
        Rubric([config])


def _source(node: Node) -> None:
    if (source := _built(DataSource, node)) is not None:
        require_source(source, Path())


def _benchmark(node: Node) -> None:
    if (config := _built(BenchmarkConfig, node)) is not None:
        benchmark = get_benchmark(config.name)
        benchmark.require_profile(config.profile)
        require_data(config.path_for(benchmark), benchmark.id, benchmark.hub_ids)
