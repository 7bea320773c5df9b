"""Evaluation between stages: asks the live rollout workers, scores the answers, compares them with
those of other stages, and applies the gate.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from evals.asking.generate import Images, evaluate
from evals.asking.judge import Judged, judge_folder
from evals.contamination.search import Overlap
from evals.data.items import Item
from evals.decisions.best import Best, best, select_score
from evals.decisions.gate import Gate, enforce, failures, worst
from evals.report.display.figures import Scale
from evals.scoring.results import ResultOptions, write_result
from recipes.running.answering import Answering
from recipes.running.console import say, stage_progress
from recipes.running.prepare import LoadedBenchmark, Questions
from recipes.schema.recipe import Recipe
from recipes.schema.stage import BASE
from rl.runs.store import RunStore


class Assessed(NamedTuple):
    """A stage's evaluation: the seconds it took, the failed gates in one line (or nothing)."""

    seconds: float
    failed: str


class Selected(NamedTuple):
    """An evaluation inside a stage: its metrics, the failed gates in one line (or nothing)."""

    metrics: dict[str, float]
    failed: str


class Assessor:
    """Scores the stages of one run. The workers must serve the weights of the stage before.

        with of_workers(recipe, prepared, engines, root) as answering:
            assessor = Assessor(recipe, prepared, store, answering, console, overlaps)
            assessor.assess("base", parent=None)      # asks, scores, writes result.json
            assessor.assess("sft", parent="base")     # compares with base; the gate decides
            assessor.select("grpo", 20, weights, parent="sft").metrics["eval/select"]
            assessor.choose(["dpo", "kto"]).stage     # what `from: best(dpo, kto)` starts from

    `overlaps` are the benchmark questions that the training rows contain, by benchmark.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Questions,
        store: RunStore,
        answering: Answering,
        console: Console,
        overlaps: Mapping[str, Overlap],
    ) -> None:
        self.recipe, self.prepared, self.store = recipe, prepared, store
        self.answering, self.console, self.overlaps = answering, console, overlaps

    def assess(self, stage: str, *, parent: str | None) -> Assessed:
        """Asks every benchmark, writes responses, scores and results.

        Raises: GateError where a gate failed and `on_fail` is stop; EvalError for an invalid run.
        """
        started = time.perf_counter()
        gates: dict[str, Gate] = {}
        for loaded in self.prepared.benchmarks:
            result = self._one(stage, parent, loaded)
            gates[loaded.benchmark.id] = Gate.of(result["gate"])
            say(self.console, result_line(stage, result))
            for alarm in result["gate"]["alarms"]:
                say(self.console, f"{stage}: {loaded.benchmark.id}: look at this: {alarm}")
        seconds = time.perf_counter() - started
        self.store.event("evaluated", stage=stage, seconds=round(seconds, 1))
        failed = failures(gates) if parent is not None else ""
        if failed:
            self._tell(stage, failed)
            enforce(gates, self.recipe.evals.gate, stage)
        return Assessed(seconds, failed)

    def select(self, stage: str, step: int, weights: str, *, parent: str) -> Selected:
        """Asks the `select` parts about the weights that the workers serve in the middle of a
        stage: `eval/<benchmark>/select`, the share of the maximum, their mean `eval/select`, and
        the gate's worst verdict `eval/gate`."""
        results = {}
        for loaded in self.prepared.benchmarks:
            items = [item for item in loaded.items if item.part == "select"]
            folder = self.store.stage(stage).evals(step, loaded.benchmark.id)
            self._ask(f"{stage} step {step}: {loaded.benchmark.id}", loaded, items, folder, weights)
            options = self._options(stage, parent, loaded)
            results[loaded.benchmark.id] = write_result(
                folder, loaded.benchmark, options, parity=self.answering.parity()
            )
        shares = {
            f"eval/{name}/select": select_score({name: result}) for name, result in results.items()
        }
        gates = {name: Gate.of(result["gate"]) for name, result in results.items()}
        if failed := failures(gates):
            self._tell(stage, failed, step=step)
        means = {"eval/select": select_score(results), "eval/gate": float(worst(gates))}
        return Selected({**shares, **means}, failed)

    def _tell(self, stage: str, failed: str, **where: int) -> None:
        action = self.recipe.evals.gate.on_fail
        self.store.event("gate_failed", stage=stage, action=action, why=failed, **where)
        at = "".join(f" at step {step}" for step in where.values())
        say(self.console, f"{stage}{at}: the gate failed ({action}): {failed}")

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
            self._options(stage, parent, loaded),
            contamination=self.overlaps.get(benchmark.id),
            parity=self._parity(stage),
        )

    def _options(self, stage: str, parent: str | None, loaded: LoadedBenchmark) -> ResultOptions:
        return ResultOptions(
            stage=stage,
            gate=self.recipe.evals.gate,
            parent=self._other(parent, loaded.benchmark.id),
            base=self._other(BASE if stage != BASE else None, loaded.benchmark.id),
            profile=loaded.config.profile,
            seed=self.recipe.run.seed,
        )

    def _parity(self, stage: str) -> Mapping[str, Any] | None:
        """What the parity gate found of the engine that answers, kept with the stage: stored
        answers may be scored again without an engine."""
        store, found = self.store.stage(stage), self.answering.parity()
        if found is None:
            kept: Mapping[str, Any] | None = store.facts().get("parity")
            return kept
        store.write_facts(parity=dict(found))
        return found

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
                images=Images(self.store.evals("images"), answering.ahead),
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


class _Statistic(NamedTuple):
    """What decides how a benchmark's figures are written: its maximum and unit."""

    max: float
    unit: str


def select_line(stage: str, step: int, select: float) -> str:
    """An evaluation in the middle of a stage in one line, its share in percent as in the report.

    >>> select_line("grpo", 20, 0.2215)
    'grpo step 20: select 22.1 %'
    """
    return f"{stage} step {step}: select {100 * select:.1f} %"


def result_line(stage: str, result: Mapping[str, Any]) -> str:
    """A result in one line: value with interval, what guessing scores, difference to the parent,
    gate. Shares are written in percent, as in the report:

        sft: textvqa accuracy 22.2 % [20.6, 24.0]; +22.2 against base (p = 0.000104, better)
    """
    part = result["parts"].get("report") or result["parts"]["select"]
    primary = result["primary"]
    most = part.get("max", primary["max"])
    scale = Scale.of(_Statistic(most, primary.get("unit", "")))
    shown = f"{stage}: {result['benchmark']} {primary['name']} "
    if part["value"] is None:
        shown += f"no score: all {part['n']:,} answers are errors"
    else:
        of = "" if scale.suffix else f" of {most:,g}"
        shown += f"{scale.value(part['value'])}{of} {scale.interval(tuple(part['interval']))}"
    if (guessing := part.get("random_baseline")) is not None:
        shown += f" (guessing: {scale.value(guessing)})"
    against = result["comparisons"].get("parent")
    compared = (against or {}).get("report")
    if against and compared:
        shown += f"; {scale.difference(compared['difference'])} against {against['stage']}"
        shown += f" (p = {compared['p_value']:.3g}, {compared['verdict']})"
    if against:
        shown += f"; gate {result['gate']['verdict']}"
    if (result.get("parity") or {"against": ""})["against"] is None:
        shown += "; engine not compared with the model (--no-parity)"
    return shown.replace("\u202f", " ")  # a terminal's font may lack the narrow space
