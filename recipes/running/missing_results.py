"""Finished stages whose `result.json` is missing: which they are, and whether the stored answers
are enough to score them again without an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from evals.asking.generate import is_current
from evals.scoring.results import RESULT
from recipes.running.answering import Answering, worker_settings
from recipes.running.prepare import Prepared
from recipes.schema.recipe import Recipe
from recipes.schema.stage import BASE
from recipes.schema.train_stage import TrainStage
from rl.core import OnRefused, Rollout, Sample, Sampling
from rl.data.ahead import ImageAhead
from rl.runs.store import RunStore


def stages_without_result(recipe: Recipe, prepared: Prepared, store: RunStore) -> list[str]:
    """The finished stages, in the order of the run, of which a benchmark's result is missing."""
    scored = [BASE] if recipe.evals.evaluate_base else []
    scored += [s.name for s in recipe.stages if isinstance(s, TrainStage) and s.evaluate]
    return [
        name
        for name in scored
        if store.stage(name).is_finished()
        and any(
            not (store.evals(name, loaded.benchmark.id) / RESULT).is_file()
            for loaded in prepared.benchmarks
        )
    ]


def has_all_answers(recipe: Recipe, prepared: Prepared, store: RunStore, stage: str) -> bool:
    """Whether every question has a stored answer by the stage's weights. A recipe with a judge
    never has them all here: judgements are asked for in a cache that needs the judge.
    """
    weights = str(store.stage(stage).facts().get("weights", ""))
    return recipe.evals.judge is None and all(
        is_current(
            store.evals(stage, loaded.benchmark.id),
            loaded.benchmark,
            loaded.items,
            worker_settings(recipe, prepared, loaded),
            weights,
        )
        for loaded in prepared.benchmarks
    )


def stored_answers(recipe: Recipe, prepared: Prepared) -> Answering:
    """Answers from `responses.jsonl` alone; a question without one is an error of ours."""
    return Answering(
        _NoSampler(),
        ImageAhead(processes=0),
        lambda loaded: worker_settings(recipe, prepared, loaded),
        judge=None,
    )


class _NoSampler:
    """A sampler that is never asked: every answer is stored."""

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]:
        assert not list(samples), "a stored answer is missing"
        return iter(())
