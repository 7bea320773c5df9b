"""`plumbline eval --endpoint`: the questions go to an OpenAI-compatible endpoint; no engine starts,
and the run's folder is the same as any other's.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from evals.asking.generate import is_current
from evals.report import build_report
from recipes.running.answering import endpoint_settings, of_endpoint
from recipes.running.assess import Assessor
from recipes.running.console import say
from recipes.running.prepare import Questions, open_benchmarks
from recipes.running.run_folder import open_run
from recipes.schema.recipe import Recipe
from recipes.schema.stage import BASE
from rl.errors import PlumblineError


def evaluate_endpoint(recipe: Recipe, console: Console, *, resume: bool = False) -> Path:
    """Asks every benchmark and writes the report. Returns the path of the report.

    Raises: RolloutError where the endpoint refuses everybody or is down; EvalError; ConfigError.
    """
    config = recipe.evals.endpoint
    assert config is not None
    started = time.perf_counter()
    questions = Questions(benchmarks=open_benchmarks(recipe))
    root = Path(recipe.run.root) / recipe.run.name
    store = open_run(recipe, root, resume=resume, fresh=False)
    base = store.stage(BASE)
    is_done = base.is_finished() and all(
        is_current(
            store.evals(BASE, loaded.benchmark.id),
            loaded.benchmark,
            loaded.items,
            endpoint_settings(recipe, loaded),
            config.fingerprint,
        )
        for loaded in questions.benchmarks
    )
    if not is_done:
        store.event("run_started", stages=[], endpoint=config.url, model=config.model)
        base.write_facts(kind="base", parent=None, status="running", weights=config.fingerprint)
        try:
            with of_endpoint(recipe, root) as answering:
                Assessor(recipe, questions, store, answering, console, {}).assess(BASE, parent=None)
        except PlumblineError as error:
            store.event("run_failed", error=type(error).__name__, message=str(error))
            build_report(root)
            raise
        base.write_facts(status="finished")
        store.event("run_finished", seconds=round(time.perf_counter() - started, 1))
    report = build_report(root)
    say(console, f"report: {report}")
    return report
