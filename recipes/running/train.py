"""Trains one stage of a run: from its parent, or from the last whole checkpoint of an attempt
that was cut off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from recipes.engines.serving import ServingEngines
from recipes.engines.training import TrainingEngines
from recipes.running.assess import Assessor, select_line
from recipes.running.console import StageProgress, say, stage_progress
from recipes.running.interrupt import Interrupt
from recipes.running.prepare import Prepared, load
from recipes.running.steps import count_steps, describe_steps, go_back
from recipes.running.watch import StageEnded, Watch
from recipes.schema.recipe import Recipe
from recipes.schema.train_stage import TrainStage
from rl.core import Progress, Rollout, Sample, Score
from rl.data.sources import DataSource
from rl.data.tree import Tree
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, implicit_rewards, train_offline, train_online, with_references
from rl.runs.checkpoint import (
    STATE,
    checkpoint_facts,
    fingerprint,
    leave_out,
    newest_valid,
    prune,
    remove_after,
    set_latest,
    write_checkpoint,
)
from rl.runs.metrics import JsonlSink, Metrics, Sink, TensorboardSink, read_metrics
from rl.runs.store import RunStore
from rollouts.collect import collect, write_rollouts


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What all stages of one run share: the recipe, its data, its folder, and what runs it."""

    recipe: Recipe
    prepared: Prepared
    store: RunStore
    engines: ServingEngines
    assessor: Assessor
    console: Console
    interrupt: Interrupt


class StageTrainer:
    """One training stage on live engines.

    Everything that a step draws follows from the run's seed and the step's number; what does not
    (optimizer, random states) is in the checkpoint. So a stage that resumes from a checkpoint
    ends in the same bits.

        trainer = StageTrainer(recipe.stage("sft"), "base", parts)
        facts = trainer.train(records)       # returns when the weights are saved and published
        run.stage("sft").write_facts(**facts)
        trainer.settle()                     # removes what only an unfinished stage needs
    """

    def __init__(self, stage: TrainStage, parent: str, parts: RunParts) -> None:
        self.stage, self.parent = stage, parent
        self.recipe, self.prepared = parts.recipe, parts.prepared
        self.run, self.store = parts.store, parts.store.stage(stage.name)
        # A trained stage that only settles runs beside engines without a learner.
        self.engines = cast(TrainingEngines, parts.engines)
        self.assessor = parts.assessor
        self.console, self.interrupt = parts.console, parts.interrupt
        self.watch = Watch(stage, parts.recipe.evals.gate)
        self._num_steps = 0

    def train(self, records: Sequence[Any]) -> dict[str, Any]:
        """Trains, saves and publishes. Returns what stage.json keeps.

        Raises: Interrupted after the step's checkpoint is written, where the run received SIGTERM.
        """
        stage = self.stage
        num_steps = self._num_steps = count_steps(stage, len(records))
        say(self.console, describe_steps(stage, len(records)))
        begun = self._begun(num_steps)
        start = int(checkpoint_facts(begun)["step"]) if begun else 0
        self.engines.now_at(stage=stage.name, step=start + 1)
        self._removed(remove_after(self.store.checkpoints, start))
        if begun is not None:
            set_latest(begun)
        parent = self.run.stage(self.parent).checkpoint()
        if stage.is_online and begun is None:
            self.engines.serve(parent)
        # An offline stage caches its references before the first update; only what changes with
        # the step (sampled answers, other partners) needs a frozen copy.
        needs_copy = stage.algorithm.needs.frozen_reference
        self.engines.learner.begin_stage(
            str(parent), self._plan(num_steps), needs_reference=needs_copy
        )
        go_back(self.run, stage.name, start)
        self.watch = Watch(stage, self.recipe.evals.gate)
        for row in read_metrics(self.store.metrics):
            if row["step"] < num_steps:  # the last step's evaluation is asked for again
                self.watch.note(row)
        facts: dict[str, Any] = {"rows": len(records), "lr": stage.peak_lr}
        with closing(Metrics(self.sinks(start), stage.algorithm.own_metrics)) as metrics:
            loop = LoopPlan(
                num_steps=num_steps,
                prompts_per_step=stage.prompts_per_step,
                seed=self.recipe.run.seed,
                start_step=start,
                updates=stage.updates,
            )
            with stage_progress(
                self.console, stage.name, log_every=stage.log_every, total=num_steps
            ) as bar:
                on_step = partial(self._on_step, metrics=metrics, bar=bar)
                work = self._online if stage.is_online else self._offline
                facts |= work(records, loop, on_step, partial(self._take_up, begun, metrics))
            ending = self.watch.ending
            last = ending.step if ending else num_steps
            if ending:
                self.run.event("stage_ended_early", stage=stage.name, **asdict(ending))
                say(self.console, f"{stage.name} ends: {ending.why}")
            # An early end's is there already: what it could go on from stays until `settle`.
            folder = self._folder(last)
            if not folder.is_dir():
                self._write(last, is_last=True)
            parity = dict(self.engines.publish(folder))
            if stage.eval_every is not None and ending is None:
                self._select(num_steps, folder, metrics)
        self.engines.now_at(stage=stage.name)
        chosen = self._chosen()
        if chosen is not None and chosen != folder:
            say(self.console, f"{stage.name}: goes back to {chosen.name}")
            if self.watch.has_failed:
                self.run.event("rolled_back", stage=stage.name, to=chosen.name)
            folder, parity = chosen, dict(self.engines.serve(chosen))
            set_latest(folder)
        return {
            **facts,
            "steps": last,
            "ended": {**asdict(ending), "planned": num_steps} if ending else None,
            "failed_inside": self._failed_inside(),
            "checkpoint": str(folder.relative_to(self.run.root)),
            "weights": fingerprint(folder),
            "parity_max": parity["parity/max"],
        }

    def settle(self) -> None:
        """Removes what only an unfinished stage needs, once stage.json names the stage's weights:
        the state beside the last ones, older checkpoints."""
        leave_out(self._folder(int(self.store.facts()["steps"])), STATE)
        self._prune(best=self.store.checkpoint().name)

    def _chosen(self) -> Path | None:
        """The checkpoint that the evaluations inside the stage choose, where they choose one."""
        if self.stage.keep_best:
            return self._checkpoint(self.watch.best_step)
        if self.watch.has_failed and self.watch.gate.on_fail == "rollback":
            return self._checkpoint(self.watch.good_step)
        return None

    def _failed_inside(self) -> str | None:
        """Why the weights that the stage yields fail the gate, as far as seen inside the stage."""
        is_saved = self.watch.gate.on_fail == "rollback" or self.stage.keep_best
        if not self.watch.has_failed or (is_saved and self.watch.good_step is not None):
            return None
        return f"the gate failed at step {self.watch.seen[-1].step}"

    # -- checkpoints

    def _begun(self, num_steps: int) -> Path | None:
        """The checkpoint that an attempt at this very stage left to go on from."""
        found = newest_valid(self.store.checkpoints, holding=STATE)
        step = int(checkpoint_facts(found)["step"]) if found is not None else 0
        if found is None or step > num_steps:
            if any(read_metrics(self.store.metrics)):
                say(
                    self.console,
                    f"{self.stage.name}: starts from the beginning, no checkpoint to continue from",
                )
                self.run.event("stage_restarted", stage=self.stage.name)
            return None
        say(self.console, f"{self.stage.name}: resumes after step {step}")
        self.run.event("stage_resumed", stage=self.stage.name, step=step)
        return found

    def _take_up(self, begun: Path | None, metrics: Metrics) -> None:
        """The checkpoint's optimizer, weights and random states into the learner, its weights to
        the workers of an online stage, under the version that they had. An evaluation that was cut
        off after the checkpoint is done again."""
        if begun is None:
            return
        step = int(checkpoint_facts(begun)["step"])
        self.engines.learner.load_state(str(begun / STATE))
        if self.stage.is_online:
            version = int(checkpoint_facts(begun)["version"])
            self.engines.resume_from(version)
            self.engines.publish(begun)
        if self._evaluates(step) and all(seen.step != step for seen in self.watch.seen):
            self.watch.leave(self._select(step, begun, metrics))
        self.watch.leave()

    def _write(self, step: int, *, is_last: bool) -> Path:
        """A checkpoint that tools open; until the last one, with what the stage goes on from."""

        def fill(aside: Path) -> None:
            self.engines.save(aside)
            if not is_last:
                self.engines.learner.save_state(str(aside / STATE))

        folder = self._folder(step)
        facts = {"stage": self.stage.name, "step": step, "version": self.engines.version}
        write_checkpoint(folder, fill, facts=facts)
        set_latest(folder)
        if not is_last:  # which has nothing to go on from: the one before stays until `settle`
            kept = self._checkpoint(self.watch.kept_step)
            self._prune(best=kept.name if kept is not None else None)
        return folder

    def _prune(self, *, best: str | None) -> None:
        self._removed(prune(self.store.checkpoints, self.stage.keep_last, best=best))

    def _removed(self, checkpoints: Sequence[Path]) -> None:
        for old in checkpoints:
            self.run.event("checkpoint_removed", stage=self.stage.name, checkpoint=old.name)

    def _folder(self, step: int) -> Path:
        return self.store.checkpoints / f"step-{step:06d}"

    # -- evaluation inside the stage

    def _evaluates(self, step: int) -> bool:
        """Whether the select parts are asked after this step; after the last one all is asked."""
        every = self.stage.eval_every
        return every is not None and step % every == 0 and step < self._num_steps

    def _select(self, step: int, folder: Path, metrics: Metrics) -> str:
        """Asks the select parts about the weights of this step, and writes what they say. Returns
        the failed gates in one line."""
        if self.engines.holds != folder and not self.stage.is_online:
            self.engines.publish(folder)
        values, failed = self.assessor.select(
            self.stage.name, step, fingerprint(folder), parent=self.parent
        )
        if self.stage.is_online:  # the next rollouts meet caches as a resumed stage's would
            self.engines.publish(folder)
        metrics.write(step, values)
        self.watch.note({"step": step, **values})
        say(self.console, select_line(self.stage.name, step, values["eval/select"]))
        return failed

    def _checkpoint(self, step: int | None) -> Path | None:
        return self._folder(step) if step else None

    def _on_step(
        self, step: int, values: dict[str, float], *, metrics: Metrics, bar: StageProgress
    ) -> None:
        # The line of a step before its checkpoint: a run killed in between repeats both.
        metrics.write(step, values)
        self.engines.now_at(stage=self.stage.name, step=step + 1)
        bar.step(step, self._num_steps, values)
        is_due = step % self.stage.save_every == 0 and step < self._num_steps
        if is_due or self._evaluates(step) or self.interrupt.is_asked:
            folder = self._write(step, is_last=False)
            if self.interrupt.is_asked:
                saved = f"saved at step {step} of {self._num_steps}"
                self.interrupt.stop(f"{self.stage.name} is {saved}")
        if self._evaluates(step):
            with self.interrupt.between_steps():
                failed = self._select(step, folder, metrics)
            self.watch.leave(failed)

    # -- the two kinds

    def _offline(
        self, records: Sequence[Any], loop: LoopPlan, on_step: Any, take_up: Callable[[], None]
    ) -> dict[str, Any]:
        stage, learner = self.stage, self.engines.learner
        algorithm = stage.algorithm
        trees = [algorithm.make_tree(self.prepared.renderer, record) for record in records]
        heldout = self._heldout()
        if warning := algorithm.data_warning(records):
            say(self.console, warning)
        if algorithm.needs.reference:
            trees = with_references(learner, trees, loop)
            heldout = with_references(learner, heldout)
        with suppress(StageEnded):
            take_up()
            with self.interrupt.at_steps(), suppress(StageEnded):
                train_offline(
                    learner=learner,
                    algorithm=algorithm,
                    trees=trees,
                    plan=loop,
                    on_step=on_step,
                )
        if not heldout:
            return {}
        rewards = implicit_rewards(learner, heldout, algorithm.implicit_beta)
        right = sum(chosen > rejected for chosen, rejected in rewards) / len(rewards)
        say(
            self.console,
            f"{stage.name}: implicit reward accuracy {right:.3f} on {len(rewards)} unseen pairs",
        )
        return {"heldout": {"pairs": len(rewards), "implicit_reward_accuracy": round(right, 4)}}

    def _online(
        self, records: Sequence[Sample], loop: LoopPlan, on_step: Any, take_up: Callable[[], None]
    ) -> dict[str, Any]:
        stage = self.stage
        scorer = self.engines.rewards(stage.rewards)
        temperature = stage.temperature or self.recipe.rollout.temperature
        limit = stage.max_new_tokens or self.recipe.rollout.max_new_tokens

        def gather(samples: Sequence[Sample], step: int) -> Any:
            sampling = self.engines.sampling(
                n=stage.algorithm.answers_per_prompt,
                temperature=temperature,
                max_new_tokens=limit,
                step=step,
            )
            done = step - 1
            passes = done * loop.prompts_per_step / len(records)
            progress = Progress(done, loop.num_steps, passes)
            groups, values = collect(self.engines.pool, scorer, samples, sampling, progress)
            if step % stage.keep_rollouts_every == 0 or step == 1:
                write_rollouts(self.store.rollouts / f"step-{step:06d}.parquet", groups)
            return groups, values

        def publish(step: int) -> Mapping[str, float]:
            return self.engines.publish()

        def make_tree(rollout: Rollout, scores: Sequence[Score]) -> Tree:
            return self.prepared.renderer.rollout_tree(rollout, scores)

        with suppress(StageEnded):
            take_up()
            with self.interrupt.at_steps(), suppress(StageEnded):
                train_online(
                    learner=self.engines.learner,
                    algorithm=stage.algorithm,
                    samples=records,
                    collect=gather,
                    make_tree=make_tree,
                    publish=publish,
                    distribution=self.engines.distribution(temperature),
                    plan=loop,
                    on_step=on_step,
                )
        return {}

    # -- parts

    def _plan(self, num_steps: int) -> OptimPlan:
        stage = self.stage
        num_updates = num_steps * stage.updates.per_step
        return OptimPlan(
            lr=stage.peak_lr,
            total_steps=num_updates,
            warmup_steps=round(stage.warmup_ratio * num_updates),
            schedule=stage.schedule,
            min_lr_ratio=stage.min_lr_ratio,
            weight_decay=stage.weight_decay,
            betas=stage.betas,
            max_grad_norm=stage.max_grad_norm,
            seed=self.recipe.run.seed,
        )

    def _heldout(self) -> list[Tree]:
        if self.stage.heldout is None:
            return []
        path = self.run.root / "stages" / self.stage.heldout / "data" / "heldout.jsonl"
        records = load(self.recipe, [DataSource(path=str(path))], "preference")
        return [self.prepared.renderer.preference_tree(record) for record in records]

    def sinks(self, start: int) -> list[Sink]:
        """Where the stage's metrics go; of what they hold, steps after `start` are replaced."""
        sinks: list[Sink] = [JsonlSink(self.store.metrics)]
        if self.recipe.run.tensorboard:
            folder = self.store.folder / "tensorboard"
            sinks.append(TensorboardSink(folder, purge_after=start))
        sinks.append(
            self.engines.cluster.metrics_sink({"run": self.run.root.name, "stage": self.stage.name})
        )
        return sinks
