"""Evaluation between stages: asks the live rollout workers, scores, compares, and lets the gate
decide."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from evals.base import Item
from evals.contamination import Overlap, overlap, train_hashes
from evals.gates import Best, Gate, best, enforce, select_score
from evals.harness import evaluate, write_result
from evals.judge import Judged, judge_folder
from recipes.answering import Answering
from recipes.config import BASE, Recipe
from recipes.console import say, stage_progress
from recipes.prepare import LoadedBenchmark, Questions
from rl.runs.store import RunStore


class Assessor:
    """Scores stages of one run. The weights asked are those that the workers serve."""

    def __init__(
        self,
        recipe: Recipe,
        prepared: Questions,
        store: RunStore,
        answering: Answering,
        console: Console,
    ) -> None:
        self.recipe, self.prepared, self.store = recipe, prepared, store
        self.answering, self.console = answering, console

    def assess(self, stage: str, *, parent: str | None) -> float:
        """Asks every benchmark, writes responses, scores and results. Returns the seconds it took.

        Raises: GateError where a gate failed and `on_fail` is stop; EvalError for an invalid run.
        """
        started = time.perf_counter()
        gates: dict[str, Gate] = {}
        for loaded in self.prepared.benchmarks:
            result = self._one(stage, parent, loaded)
            gate = dict(result["gate"])
            gates[loaded.benchmark.id] = Gate(**{**gate, "reasons": tuple(gate["reasons"])})
            say(self.console, result_line(stage, result))
        seconds = time.perf_counter() - started
        self.store.event("evaluated", stage=stage, seconds=round(seconds, 1))
        if parent is not None:
            enforce(gates, self.recipe.evals.gate, stage)
        return seconds

    def select(self, stage: str, step: int, weights: str) -> dict[str, float]:
        """Asks the `select` parts about the weights that the workers serve in the middle of a
        stage: `eval/<benchmark>/select`, the share of the maximum, and their mean `eval/select`."""
        results = {}
        for loaded in self.prepared.benchmarks:
            items = [item for item in loaded.items if item.part == "select"]
            folder = self.store.stage(stage).evals(step, loaded.benchmark.id)
            self._ask(f"{stage} step {step}: {loaded.benchmark.id}", loaded, items, folder, weights)
            results[loaded.benchmark.id] = write_result(
                folder,
                loaded.benchmark,
                stage=stage,
                gate=self.recipe.evals.gate,
                profile=loaded.config.profile,
                seed=self.recipe.run.seed,
            )
        shares = {
            f"eval/{name}/select": select_score({name: result}) for name, result in results.items()
        }
        return {**shares, "eval/select": select_score(results)}

    def choose(self, candidates: Sequence[str]) -> Best:
        """The candidate that the `select` parts prefer."""
        return best({name: self._results(name) for name in candidates})

    def _one(self, stage: str, parent: str | None, loaded: LoadedBenchmark) -> dict[str, Any]:
        benchmark = loaded.benchmark
        folder = self.store.evals(stage, benchmark.id)
        weights = str(self.store.stage(stage).facts().get("weights", ""))
        self._ask(f"{stage}: {benchmark.id}", loaded, loaded.items, folder, weights)
        return write_result(
            folder,
            benchmark,
            stage=stage,
            gate=self.recipe.evals.gate,
            parent=self._other(parent, benchmark.id),
            base=self._other(BASE if stage != BASE else None, benchmark.id),
            profile=loaded.config.profile,
            contamination=self._overlaps[benchmark.id],
            seed=self.recipe.run.seed,
        )

    def _ask(
        self, what: str, loaded: LoadedBenchmark, items: Sequence[Item], folder: Path, weights: str
    ) -> None:
        answering = self.answering
        with stage_progress(self.console, what, total=len(items)) as bar:
            evaluate(
                loaded.benchmark,
                items,
                answering.sampler,
                folder,
                settings=answering.settings(loaded),
                weights=weights,
                progress=bar.advance,
                images=self.store.evals("images"),
                ahead=answering.ahead,
            )
        if isinstance(loaded.benchmark, Judged) and answering.judge is not None:
            judge_folder(folder, loaded.benchmark, answering.judge)

    def _other(self, stage: str | None, benchmark: str) -> Path | None:
        if stage is None:
            return None
        folder = self.store.evals(stage, benchmark)
        return folder if (folder / "result.json").exists() else None

    def _results(self, stage: str) -> Mapping[str, Mapping[str, Any]]:
        folder = self.store.evals(stage)
        return {
            path.parent.name: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(folder.glob("*/result.json"))
        }

    @cached_property
    def _overlaps(self) -> dict[str, Overlap]:
        """Benchmark images that any stage trains on: every file of the recipe counts."""
        hashes: set[str] = set()
        for records in self.prepared.records.values():
            hashes |= train_hashes(records)
        found = {}
        for loaded in self.prepared.benchmarks:
            found[loaded.benchmark.id] = overlap(hashes, loaded.items)
            if found[loaded.benchmark.id].num_images:
                say(
                    self.console,
                    f"{loaded.benchmark.id}: {found[loaded.benchmark.id].num_images} images "
                    "are in the training data too; the leaderboard marks this",
                )
        return found


def result_line(stage: str, result: Mapping[str, Any]) -> str:
    """A result in one line: value with interval, difference to the parent, gate."""
    part = result["parts"].get("report") or result["parts"]["select"]
    primary = result["primary"]
    low, high = part["interval"]
    shown = (
        f"{stage}: {result['benchmark']} {primary['name']} {part['value']:.4g} of "
        f"{primary['max']:g} [{low:.4g}, {high:.4g}]"
    )
    against = result["comparisons"].get("parent")
    compared = (against or {}).get("report")
    if against and compared:
        shown += f"; {compared['difference']:+.4g} against {against['stage']}"
        shown += f" (p = {compared['p_value']:.3g}, {compared['verdict']})"
    if against:
        shown += f"; gate {result['gate']['verdict']}"
    return shown
