"""Runs a recipe: base, then stage after stage, evaluation after each, a report that grows with
them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evals.report.build import build_report
from recipes.assess import Assessor
from recipes.build import Line
from recipes.config import BASE, Recipe, StageSection
from recipes.console import say, stage_progress
from recipes.prepare import Prepared, load, prepare, stage_sources
from recipes.run_folder import open_run
from recipes.steps import count_steps, make_tree
from rl.core import Rollout, Sample, Score
from rl.data.sources import DataSource
from rl.data.tree import Tree
from rl.errors import PlumblineError, RunError
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, implicit_rewards, train_offline, train_online, with_references
from rl.runs.checkpoint import fingerprint, is_valid, set_latest, write_checkpoint
from rl.runs.metrics import JsonlSink, Metrics, Sink, TensorboardSink
from rl.runs.store import RunStore, StageStore, write_json
from rollouts.collect import collect, write_rollouts
from rollouts.pairs import write_pairs


class Pipeline:
    """One run of one recipe.

    What can be wrong with page, data or model is found before an engine starts. A stage that is
    finished (its stage.json says
    so and its checkpoint is whole) is not run again on resume.
    """

    def __init__(
        self, recipe: Recipe, console: Console, *, resume: bool = False, fresh: bool = False
    ) -> None:
        self.recipe, self.console = recipe, console
        self.root = Path(recipe.run.root) / recipe.run.name
        self._resume, self._fresh = resume, fresh
        self._serving = ""
        self.prepared: Prepared
        self.store: RunStore
        self.line: Line
        self.assessor: Assessor

    def run(self) -> Path:
        """Runs every unfinished stage. Returns the report's page.

        Raises: GateError where a gate says stop; any PlumblineError, after it is written to
        events.jsonl.
        """
        started = time.perf_counter()
        self.prepared = prepare(self.recipe, rejects=self.root / "rejects")
        self.store = open_run(self.recipe, self.root, resume=self._resume, fresh=self._fresh)
        if self._is_finished():
            say(self.console, "every stage was finished before; writing the report again")
            return build_report(self.root)
        self.store.event("run_started", stages=[stage.name for stage in self.recipe.stages])
        say(
            self.console,
            "starting Ray, the learner and the rollout workers (a machine's first start compiles "
            "DeepSpeed's extension: about a minute more)",
        )
        try:
            with Line(
                self.recipe, self.prepared.eyes, self.prepared.prompts, name=self.root.name
            ) as line:
                self.line = line
                self.assessor = Assessor(self.recipe, self.prepared, self.store, line, self.console)
                self._greet(time.perf_counter() - started)
                self._base()
                for stage in self.recipe.stages:
                    self._stage(stage)
        except PlumblineError as error:
            self.store.event("run_failed", error=type(error).__name__, message=str(error))
            build_report(self.root)
            raise
        seconds = time.perf_counter() - started
        self.store.event("run_finished", seconds=round(seconds, 1))
        page = build_report(self.root)
        say(self.console, f"finished in {seconds / 60:.1f} min; report: {page}")
        return page

    def _is_finished(self) -> bool:
        stages = [self.store.stage(stage.name) for stage in self.recipe.stages]
        return self.store.stage(BASE).is_finished() and all(map(self._is_done, stages))

    def _greet(self, seconds: float) -> None:
        cluster = self.line.cluster
        say(self.console, f"engines up in {seconds:.0f} s; run folder {self.root}")
        if cluster.dashboard_url:
            say(self.console, f"Ray dashboard {cluster.dashboard_url}")
        say(self.console, f"metrics for Prometheus {cluster.metrics_url}")
        self.store.event("engines_up", seconds=round(seconds, 1), metrics_url=cluster.metrics_url)

    def _base(self) -> None:
        """The untrained model: served, checked for parity, scored."""
        store = self.store.stage(BASE)
        if not store.is_finished():
            model = Path(self.recipe.model.path).resolve()
            store.write_facts(kind="base", parent=None, status="running", checkpoint=str(model))
            parity = self.line.serve(model)
            self._serving = BASE
            store.write_facts(weights=fingerprint(model), parity_max=parity["parity/max"])
            if self.recipe.evals.evaluate_base:
                self.assessor.assess(BASE, parent=None)
            store.write_facts(status="finished")

    def _stage(self, stage: StageSection) -> None:
        store = self.store.stage(stage.name)
        if self._is_done(store):
            say(self.console, f"{stage.name}: finished before, kept")
            return
        parent = self._parent(stage)
        store.clear()
        started = time.perf_counter()
        kind = "sample" if stage.sample is not None else "train"
        algorithm = None if stage.sample is not None else stage.algorithm.name
        store.write_facts(
            kind=kind,
            algorithm=algorithm,
            parent=parent,
            status="running",
            **{"from": stage.from_, "data": [source.stage or source.path for source in stage.data]},
        )
        self.store.event("stage_started", stage=stage.name, parent=parent)
        try:
            facts = self._sample(stage, parent) if kind == "sample" else self._train(stage, parent)
            store.write_facts(**facts)
            if kind == "train" and stage.evaluate and self.prepared.benchmarks:
                self._assess(stage, parent, int(facts["steps"]))
        except PlumblineError as error:
            store.write_facts(status="failed", error=str(error))
            raise
        seconds = round(time.perf_counter() - started, 1)
        store.write_facts(status="finished", seconds=seconds)
        self.store.event("stage_finished", stage=stage.name, seconds=seconds)
        build_report(self.root)

    def _assess(self, stage: StageSection, parent: str, step: int) -> None:
        """Evaluates the stage's weights; the time that it took is a metric of the last step."""
        seconds = self.assessor.assess(stage.name, parent=parent)
        metrics = Metrics(self._sinks(stage.name))
        metrics.write(step, {"time/eval_s": seconds})
        metrics.close()
        say(self.console, f"{stage.name} evaluated: {seconds:.1f} s = eval {seconds:.2f}")

    def _is_done(self, store: StageStore) -> bool:
        facts = store.facts()
        if facts.get("status") != "finished":
            return False
        return facts["kind"] == "sample" or is_valid(store.checkpoint())

    def _parent(self, stage: StageSection) -> str:
        if not stage.chooses_best:
            return stage.parents[0]
        chosen, why = self.assessor.choose(stage.parents)
        say(self.console, f"{stage.name} starts from {chosen}: {why}")
        self.store.event("best_chosen", stage=stage.name, chosen=chosen, why=why)
        return chosen

    def _checkpoint(self, stage: str) -> Path:
        return self.store.stage(stage).checkpoint()

    def _serve(self, stage: str) -> None:
        """Learner and rollout workers take a stage's weights, unless they have them."""
        if self._serving != stage:
            self.line.serve(self._checkpoint(stage))
            self._serving = stage

    def _train(self, stage: StageSection, parent: str) -> dict[str, Any]:
        """Trains, saves and publishes one stage. Returns what stage.json keeps."""
        algorithm, store = stage.algorithm, self.store.stage(stage.name)
        records = self._records(stage)
        num_steps = count_steps(stage, len(records))
        if stage.is_online:
            self._serve(parent)
        plan = OptimPlan(
            lr=stage.peak_lr,
            total_steps=num_steps,
            warmup_steps=round(stage.warmup_ratio * num_steps),
            schedule=stage.schedule,
            min_lr_ratio=stage.min_lr_ratio,
            weight_decay=stage.weight_decay,
            betas=stage.betas,
            max_grad_norm=stage.max_grad_norm,
            seed=self.recipe.run.seed,
        )
        # An offline stage caches its references before the first update; only what changes with
        # the step (KTO's mismatched answers, online rollouts) needs a frozen copy.
        needs_copy = algorithm.needs.reference and (stage.is_online or algorithm.needs.mismatched)
        checkpoint = str(self._checkpoint(parent))
        self.line.learner.begin_stage(checkpoint, plan, needs_reference=needs_copy)
        self._serving = parent if stage.is_online else ""
        metrics = Metrics(self._sinks(stage.name))
        loop = LoopPlan(
            num_steps=num_steps, prompts_per_step=stage.prompts_per_step, seed=self.recipe.run.seed
        )
        facts: dict[str, Any] = {"steps": num_steps, "rows": len(records), "lr": stage.peak_lr}
        with stage_progress(
            self.console, stage.name, log_every=stage.log_every, total=num_steps
        ) as bar:

            def on_step(step: int, values: dict[str, float]) -> None:
                metrics.write(step, values)
                bar.step(step, num_steps, values)

            if stage.is_online:
                self._online(stage, records, loop, on_step)
            else:
                facts |= self._offline(stage, records, loop, on_step)
        metrics.close()
        folder = store.checkpoints / f"step-{num_steps:06d}"
        write_checkpoint(folder, self.line.save, facts={"stage": stage.name, "step": num_steps})
        set_latest(folder)
        parity = dict(self.line.publish())
        self._serving = stage.name
        relative = str(folder.relative_to(self.root))
        return {
            **facts,
            "checkpoint": relative,
            "weights": fingerprint(folder),
            "parity_max": parity["parity/max"],
        }

    def _offline(
        self, stage: StageSection, records: list[Any], loop: LoopPlan, on_step: Any
    ) -> dict[str, Any]:
        algorithm, learner = stage.algorithm, self.line.learner
        trees = [self._tree(stage.reading, record) for record in records]
        heldout = self._heldout(stage)
        arrange = None
        if algorithm.needs.mismatched:
            from rl.algorithms.kto import rotate_answers

            arrange = rotate_answers
            if warning := algorithm.balance_warning([record.label for record in records]):
                say(self.console, warning)
        if algorithm.needs.reference:
            trees = with_references(learner, trees)
            heldout = with_references(learner, heldout)
        train_offline(
            learner=learner,
            algorithm=algorithm,
            trees=trees,
            plan=loop,
            on_step=on_step,
            arrange=arrange,
        )
        if not heldout:
            return {}
        rewards = implicit_rewards(learner, heldout, algorithm.beta)
        right = sum(chosen > rejected for chosen, rejected in rewards) / len(rewards)
        say(
            self.console,
            f"{stage.name}: implicit reward accuracy {right:.3f} on {len(rewards)} unseen pairs",
        )
        return {"heldout": {"pairs": len(rewards), "implicit_reward_accuracy": round(right, 4)}}

    def _online(
        self, stage: StageSection, records: list[Sample], loop: LoopPlan, on_step: Any
    ) -> None:
        scorer = self.line.rewards(stage.rewards)
        temperature = stage.temperature or self.recipe.rollout.temperature
        limit = stage.max_new_tokens or self.recipe.rollout.max_new_tokens
        store = self.store.stage(stage.name)

        def gather(samples: Sequence[Sample], step: int) -> Any:
            sampling = self.line.sampling(
                n=stage.algorithm.group_size,
                temperature=temperature,
                max_new_tokens=limit,
                step=step,
            )
            groups, values = collect(self.line.pool, scorer, samples, sampling)
            if step % stage.keep_rollouts_every == 0 or step == 1:
                write_rollouts(store.rollouts / f"step-{step:06d}.parquet", groups)
            return groups, values

        def publish(step: int) -> Mapping[str, float]:
            self._serving = ""
            return self.line.publish()

        def make_tree(rollout: Rollout, scores: Sequence[Score]) -> Tree:
            return self.prepared.eyes.renderer.rollout_tree(rollout, scores)

        train_online(
            learner=self.line.learner,
            algorithm=stage.algorithm,
            samples=records,
            collect=gather,
            make_tree=make_tree,
            publish=publish,
            view=self.line.view(temperature),
            plan=loop,
            on_step=on_step,
        )

    def _sample(self, stage: StageSection, parent: str) -> dict[str, Any]:
        """Draws the parent's answers, scores them, writes pairs and labelled answers."""
        assert stage.sample is not None
        self._serve(parent)
        folder = self.store.stage(stage.name).folder / "data"
        return sample_pairs(self.line, stage, self._records(stage), folder, self.console)

    def _records(self, stage: StageSection) -> list[Any]:
        if stage.name in self.prepared.records:
            return list(self.prepared.records[stage.name])
        return list(load(self.recipe, stage_sources(stage, self.root), stage.reading))

    def _heldout(self, stage: StageSection) -> list[Tree]:
        if stage.heldout is None:
            return []
        path = self.root / "stages" / stage.heldout / "data" / "heldout.jsonl"
        records = load(self.recipe, [DataSource(path=str(path))], "preference")
        return [self._tree("preference", record) for record in records]

    def _tree(self, reading: str, record: Any) -> Tree:
        return make_tree(self.prepared.eyes.renderer, reading, record)

    def _sinks(self, stage: str) -> list[Sink]:
        store = self.store.stage(stage)
        sinks: list[Sink] = [JsonlSink(store.metrics)]
        if self.recipe.run.tensorboard:
            sinks.append(TensorboardSink(store.folder / "tensorboard"))
        sinks.append(self.line.cluster.metrics_sink({"run": self.root.name, "stage": stage}))
        return sinks


def sample_pairs(
    line: Line, stage: StageSection, records: Sequence[Sample], folder: Path, console: Console
) -> dict[str, Any]:
    """The work of a sample stage on live engines that already serve its parent."""
    section = stage.sample
    assert section is not None
    sampling = line.sampling(
        n=section.n,
        temperature=section.temperature,
        max_new_tokens=section.max_new_tokens or line.recipe.rollout.max_new_tokens,
    )
    scorer, groups = line.rewards(section.rewards), []
    with stage_progress(console, stage.name, total=len(records)) as bar:
        for start in range(0, len(records), stage.prompts_per_step):
            part = records[start : start + stage.prompts_per_step]
            groups += collect(line.pool, scorer, part, sampling)[0]
            bar.advance(start + len(part), len(records))
    counts = write_pairs(
        groups, folder, heldout=section.heldout, label_threshold=section.label_threshold
    )
    values = [s.value for _, scores in groups for s in scores if s.value is not None]
    mean = sum(values) / len(values) if values else math.nan
    say(
        console,
        f"{stage.name}: {counts.prompts} prompts x {section.n}, mean score {mean:.3f}; "
        f"{counts.pairs} pairs, {counts.heldout} held out, {counts.tied} without contrast",
    )
    if not counts.pairs:
        raise RunError(
            "no prompt has a better and a worse answer",
            where=f"stages.{stage.name}",
            do="raise sample.n or sample.temperature, or use other prompts",
        )
    return {"counts": counts.__dict__, "mean_score": mean}


def sample_alone(recipe: Recipe, out: Path, console: Console) -> None:
    """`plumbline sample`: the one sample stage of a recipe, on the recipe's model, without a
    run."""
    stage = recipe.stages[0]
    prepared = prepare(recipe)
    with Line(recipe, prepared.eyes, prepared.prompts, name="sample") as line:
        line.serve(Path(recipe.model.path))
        facts = sample_pairs(line, stage, prepared.records[stage.name], out, console)
    write_json(out / "sample.json", {"model": recipe.model.path, **facts})
