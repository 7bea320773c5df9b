"""Runs a recipe: the base model, then every stage with its evaluation. The report is written again
after each.

    page = Pipeline(load_recipe(Path("grpo.yaml")), Console(), resume=True).run()
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evals.asking.generate import is_current
from evals.contamination.search import Overlap
from evals.report import build_report, gate_markdown
from recipes.engines.serving import ServingEngines
from recipes.engines.training import TrainingEngines
from recipes.planning.overlap import find_overlaps
from recipes.running.answering import Answering, of_workers, worker_settings
from recipes.running.assess import Assessor
from recipes.running.console import say, say_how_to_load, warn_of_shared_cores
from recipes.running.interrupt import Interrupt, Interrupted
from recipes.running.missing_results import (
    has_all_answers,
    stages_without_result,
    stored_answers,
)
from recipes.running.prepare import Prepared, load, prepare, stage_sources
from recipes.running.run_folder import open_run
from recipes.running.sample import sample_pairs
from recipes.running.train import RunParts, StageTrainer
from recipes.schema.kinds import AnyStage
from recipes.schema.recipe import Recipe
from recipes.schema.sample_stage import SampleStage
from recipes.schema.stage import BASE
from recipes.schema.train_stage import TrainStage
from rl.errors import ConfigError, GateError, PlumblineError, RunError
from rl.runs.checkpoint import fingerprint, is_valid
from rl.runs.metrics import Metrics
from rl.runs.store import RunStore, StageStore
from rl.runtime.shared_cores import CoreUse


class Pipeline:
    """One run of one recipe.

    What can be wrong with recipe, data or model is found before an engine starts. A stage that is
    finished (its stage.json says so and its checkpoint is whole) is not run again on resume, and
    an unfinished one resumes from its newest whole checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        console: Console,
        *,
        resume: bool = False,
        fresh: bool = False,
        accept_changes: bool = False,
    ) -> None:
        self.recipe, self.console = recipe, console
        self.root = Path(recipe.run.root) / recipe.run.name
        self._opening = {"resume": resume, "fresh": fresh, "accept_changes": accept_changes}
        self.interrupt = Interrupt(recipe.run.grace_s)
        self.prepared: Prepared
        self.store: RunStore
        self.engines: ServingEngines
        self.assessor: Assessor

    def run(self) -> Path:
        """Runs every unfinished stage. Returns the report's page.

        Raises: GateError where a gate says stop; any PlumblineError, after it is written to
        events.jsonl.
        """
        with self.interrupt:
            return self._run(time.perf_counter())

    def _run(self, started: float) -> Path:
        cores = CoreUse.now()
        self.prepared = prepare(self.recipe, rejects=self.root / "rejects")
        self.store = open_run(self.recipe, self.root, **self._opening)
        if self._is_finished():
            missing = stages_without_result(self.recipe, self.prepared, self.store)
            if all(
                has_all_answers(self.recipe, self.prepared, self.store, stage) for stage in missing
            ):
                return self._report_again(missing)
        self.store.event("run_started", stages=[stage.name for stage in self.recipe.stages])
        self.interrupt.on_stop = lambda message: self.store.event("run_stopped", message=message)
        overlaps = find_overlaps(self.recipe, self.prepared, self.console)
        warn_of_shared_cores(self.console, cores)
        try:
            with (
                self._start_engines() as self.engines,
                of_workers(self.recipe, self.prepared, self.engines, self.root) as answering,
            ):
                self._run_stages(answering, overlaps, time.perf_counter() - started)
        except Interrupted:
            raise
        except PlumblineError as error:
            self.store.event("run_failed", error=type(error).__name__, message=str(error))
            build_report(self.root)
            self._summarise()
            raise
        seconds = time.perf_counter() - started
        self.store.event("run_finished", seconds=round(seconds, 1))
        page = build_report(self.root)
        self._summarise()
        say(self.console, f"finished in {seconds / 60:.1f} min; report: {page}")
        self._name_weights()
        return page

    def _start_engines(self) -> ServingEngines:
        """Engines with a learner where a stage has still to train, else without."""
        trains = any(
            isinstance(stage, TrainStage) and not self._is_trained(self.store.stage(stage.name))
            for stage in self.recipe.stages
        )
        kind = TrainingEngines if trains else ServingEngines
        say(
            self.console,
            "starting Ray, the learner and the rollout workers (a machine's first start compiles "
            "DeepSpeed's extension: about a minute more)"
            if trains
            else "starting Ray and the rollout workers",
        )
        return kind(
            self.recipe,
            self.prepared.renderer,
            self.prepared.prompts,
            name=self.root.name,
            on_event=self._record,
            is_ending=lambda: self.interrupt.is_asked,
        )

    def _run_stages(
        self, answering: Answering, overlaps: Mapping[str, Overlap], seconds: float
    ) -> None:
        """Base, then every stage, on live engines that took so many seconds to start."""
        self.assessor = Assessor(
            self.recipe, self.prepared, self.store, answering, self.console, overlaps
        )
        self._greet(seconds)
        try:
            self._base()
            for stage in self.recipe.stages:
                self._stage(stage)
        except Interrupted:
            build_report(self.root)  # here: engines that end slowly may outlast the grace
            raise

    def _report_again(self, missing: Sequence[str]) -> Path:
        """Scores stored answers whose result is missing, and writes the report; no engine."""
        if missing:
            say(self.console, f"scoring stored answers again: {', '.join(missing)}")
            overlaps = find_overlaps(self.recipe, self.prepared, self.console)
            with stored_answers(self.recipe, self.prepared) as answering:
                assessor = Assessor(
                    self.recipe, self.prepared, self.store, answering, self.console, overlaps
                )
                for stage in missing:
                    assessor.assess(stage, parent=self.store.stage(stage).facts().get("parent"))
        say(self.console, "every stage was finished before; writing the report again")
        page = build_report(self.root)
        self._name_weights()
        return page

    def _assess_again(self, stage: str) -> None:
        """Scores a finished stage of which a result is missing; missing answers are asked for."""
        store = self.store.stage(stage)
        say(self.console, f"{stage}: a result is missing, it is scored again")
        self.engines.serve(store.checkpoint())
        self.assessor.assess(stage, parent=store.facts().get("parent"))

    def _name_weights(self) -> None:
        """The last training stage's weights, and how to load them."""
        trained = [s.name for s in self.recipe.stages if isinstance(s, TrainStage)]
        if not trained or (stage := self._yields(trained[-1])) == BASE:
            return
        folder, spec = self.store.stage(stage).checkpoint(), self.prepared.renderer.spec
        say_how_to_load(self.console, stage, folder, has_vision=spec.has_vision)

    def _is_finished(self) -> bool:
        stages = [self.store.stage(stage.name) for stage in self.recipe.stages]
        return self._is_base_done() and all(map(self._is_done, stages))

    def _is_base_done(self) -> bool:
        """Whether the base was evaluated as it is now: its folder may have been overwritten.

        Raises: ConfigError where stages were trained from what it was.
        """
        store = self.store.stage(BASE)
        if not store.is_finished():
            return False
        weights = fingerprint(Path(self.recipe.model.path))
        if self.recipe.stages:
            if weights != store.facts().get("weights"):
                raise ConfigError(
                    "its weights are others than when the run began",
                    where=f"model.path: {self.recipe.model.path}",
                    do="start another run with run.name=..., or put the old files back",
                )
            return True
        return all(
            is_current(
                self.store.evals(BASE, loaded.benchmark.id),
                loaded.benchmark,
                loaded.items,
                worker_settings(self.recipe, self.prepared, loaded),
                weights,
            )
            for loaded in self.prepared.benchmarks
        )

    def _greet(self, seconds: float) -> None:
        cluster = self.engines.cluster
        say(self.console, f"engines up in {seconds:.0f} s; run folder {self.root}")
        if cluster.dashboard_url:
            # Ray asks for a token there, which the command gives to the browser.
            address = (
                f"plumbline dashboard {self.root}" if cluster.is_local else cluster.dashboard_url
            )
            say(self.console, f"Ray dashboard: {address}")
        say(self.console, f"metrics for Prometheus: {cluster.metrics_url}")
        self.store.event(
            "engines_up",
            seconds=round(seconds, 1),
            metrics_url=cluster.metrics_url,
            dashboard_url=cluster.dashboard_url,
        )

    def _base(self) -> None:
        """The untrained model: served, checked for parity, scored."""
        store = self.store.stage(BASE)
        if not self._is_base_done():
            model = Path(self.recipe.model.path).resolve()
            store.write_facts(kind="base", parent=None, status="running", checkpoint=str(model))
            parity = self.engines.serve(model)
            store.write_facts(weights=fingerprint(model), parity_max=parity.get("parity/max"))
            if self.recipe.evals.evaluate_base:
                self.assessor.assess(BASE, parent=None)
            store.write_facts(status="finished")
        elif BASE in stages_without_result(self.recipe, self.prepared, self.store):
            self._assess_again(BASE)

    def _stage(self, stage: AnyStage) -> None:
        store = self.store.stage(stage.name)
        if self._is_done(store):
            say(self.console, f"{stage.name}: finished before, kept")
            if stage.name in stages_without_result(self.recipe, self.prepared, self.store):
                self._assess_again(stage.name)
            return
        parent = self._parent(stage)
        before = store.facts()
        if isinstance(stage, SampleStage) or before.get("parent") != parent:
            if before:
                self.store.event("stage_restarted", stage=stage.name)
            store.clear()
        started = time.perf_counter()
        algorithm: Any = stage.algorithm if isinstance(stage, TrainStage) else None
        store.write_facts(
            kind=stage.kind,
            algorithm=None if algorithm is None else algorithm.name,
            parent=parent,
            status="running",
            rolled_back_to=None,
            own_metrics={} if algorithm is None else dict(algorithm.own_metrics),
            **{"from": stage.from_, "data": [source.stage or source.path for source in stage.data]},
        )
        self.store.event("stage_started", stage=stage.name, parent=parent)
        try:
            match stage:
                case TrainStage():
                    self._train(stage, parent)
                case SampleStage():
                    store.write_facts(**self._sample(stage, parent))
        except Interrupted:
            raise
        except PlumblineError as error:
            store.write_facts(status="failed", error=str(error))
            raise
        seconds = round(time.perf_counter() - started, 1)
        store.write_facts(status="finished", seconds=seconds)
        self.store.event("stage_finished", stage=stage.name, seconds=seconds)
        build_report(self.root)

    def _summarise(self) -> None:
        """Where CI shows a job's summary (GitHub's convention), the gate is listed there."""
        if place := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(place).open("a", encoding="utf-8") as file:
                file.write(gate_markdown(self.root))

    def _train(self, stage: TrainStage, parent: str) -> None:
        """Trains and evaluates one stage; the time of evaluation is a metric of the last step."""
        store, trainer = self.store.stage(stage.name), self._trainer(stage, parent)
        if self._is_trained(store):
            self.engines.serve(store.checkpoint())
        else:
            records = self._records(stage)
            engines = self._with_learner(stage)
            store.write_facts(**engines.with_learner(lambda: trainer.train(records)))
        trainer.settle()
        failed = str(store.facts().get("failed_inside") or "")
        if stage.evaluate and self.prepared.benchmarks:
            seconds, failed = self.assessor.assess(stage.name, parent=parent)
            steps = int(store.facts()["steps"])
            metrics = Metrics(trainer.sinks(steps))
            metrics.write(steps, {"time/eval_s": seconds})
            metrics.close()
            say(self.console, f"{stage.name} evaluated: {seconds:.1f} s = eval {seconds:.2f}")
        if failed:
            self._failed(stage, parent, failed)

    def _failed(self, stage: AnyStage, parent: str, why: str) -> None:
        """What a failed gate does to the stages that come. Raises: GateError where it stops."""
        gate = self.recipe.evals.gate
        if gate.on_fail == "stop":
            raise GateError(why, where=f"stage {stage.name}", do="set evals.gate.on_fail")
        if gate.on_fail == "rollback":
            self.store.stage(stage.name).write_facts(rolled_back_to=parent, rolled_back_why=why)
            self.store.event("rolled_back", stage=stage.name, to=parent, why=why)
            say(self.console, f"{stage.name} is rolled back: later stages start from {parent}")

    def _yields(self, stage: str) -> str:
        """The stage whose weights are used for this one: itself, or what it was rolled back to."""
        while to := self.store.stage(stage).facts().get("rolled_back_to"):
            stage = str(to)
        return stage

    def _record(self, event: str, **facts: Any) -> None:
        """Stores an event of the engines; a lost learner is also said on the console."""
        self.store.event(event, **facts)
        if event == "learner_lost":
            say(self.console, f"{', '.join(facts['ranks'])} lost; the learner is started again")

    def _with_learner(self, stage: TrainStage) -> TrainingEngines:
        """The engines of a stage that trains.

        Raises: RunError where none was started, because the stage had been trained already and has
        another parent now: a result has changed which stage it starts from.
        """
        if not isinstance(self.engines, TrainingEngines):
            raise RunError(
                "the stage has to be trained again, from another parent than before",
                where=f"stage {stage.name}",
                do="continue with --resume, which starts a learner",
            )
        return self.engines

    def _is_trained(self, store: StageStore) -> bool:
        """Whether only the evaluation is left."""
        return "weights" in store.facts() and is_valid(store.checkpoint())

    def _is_done(self, store: StageStore) -> bool:
        facts = store.facts()
        if facts.get("status") != "finished":
            return False
        return facts["kind"] == "sample" or is_valid(store.checkpoint())

    def _parent(self, stage: AnyStage) -> str:
        candidates = list(dict.fromkeys(map(self._yields, stage.parents)))
        for named in stage.parents:
            if (stands := self._yields(named)) != named:
                say(self.console, f"{stage.name}: {stands} replaces {named}, rolled back")
        if len(candidates) == 1:
            return candidates[0]
        chosen, why = self.assessor.choose(candidates)
        say(self.console, f"{stage.name} starts from {chosen}: {why}")
        self.store.event("best_chosen", stage=stage.name, chosen=chosen, why=why)
        return chosen

    def _trainer(self, stage: TrainStage, parent: str) -> StageTrainer:
        parts = RunParts(
            recipe=self.recipe,
            prepared=self.prepared,
            store=self.store,
            engines=self.engines,
            assessor=self.assessor,
            console=self.console,
            interrupt=self.interrupt,
        )
        return StageTrainer(stage, parent, parts)

    def _sample(self, stage: SampleStage, parent: str) -> dict[str, Any]:
        """Draws the parent's answers, scores them, writes pairs and labelled answers."""
        self.engines.serve(self.store.stage(parent).checkpoint())
        folder = self.store.stage(stage.name).folder / "data"
        return sample_pairs(self.engines, stage, self._records(stage), folder, self.console)

    def _records(self, stage: AnyStage) -> list[Any]:
        if stage.name in self.prepared.records:
            return list(self.prepared.records[stage.name])
        return list(load(self.recipe, stage_sources(stage, self.root), stage.reading))
