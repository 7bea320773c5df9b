"""The learner beside the engines: what a training stage runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from recipes.engines.serving import NODE_LOSS_S, ServingEngines, search_path
from rl.errors import DeadlineError, RunError
from rl.learners.base import OptimPlan
from rl.learners.group import LearnerGroup

if TYPE_CHECKING:
    from rl.learners.base import Channel
    from rl.runtime.actors import Handle
    from rl.runtime.cluster import RayHandle
    from rl.runtime.publish import Transport

Done = TypeVar("Done")


class TrainingEngines(ServingEngines):
    """Learner, rollout workers and reward workers on Ray, with one weight version at a time.

    `serve(checkpoint)` and `publish()` are the only ways in which weights reach the rollout
    workers. Both end in the parity gate, which compares log-probs of some of `prompts` between
    engine and learner.

        with TrainingEngines(recipe, renderer, prompts, name="my-run") as engines:
            engines.serve(checkpoint)             # the workers sample from a checkpoint's weights
            scorer = engines.rewards(configs)     # starts reward workers, or keeps those that run
            engines.learner.begin_stage(str(checkpoint), plan, needs_reference=False)
            ...                                   # updates the learner's weights
            engines.publish()                     # the workers sample from the new weights
            engines.save(folder)                  # a folder that from_pretrained opens
    """

    has_learner = True

    def _start_actors(self) -> None:
        recipe = self.recipe
        ranks = self._start_learner()
        if recipe.rollout.engine.way_in == "ipc":
            # An engine may measure the free memory of a GPU as it starts: the learner is first.
            for handle in ranks:
                self.ready(handle)
        workers = [self.start_rollout(index) for index in range(recipe.rollout.workers)]
        for handle in [*ranks, *workers]:
            self.ready(handle)
        self.learner = LearnerGroup(ranks, deadline_s=recipe.learner.deadline_s)
        self.pool = self.make_pool(workers)
        self.transport: Transport = self._open_transport()
        self._published: Mapping[str, float] = {}
        self.parity = self.gate.check(self.learner, self.pool, version=0)

    def _start_learner(self) -> list[RayHandle]:
        from rl.learners.zero import ZeroLearner

        recipe = self.recipe
        address, port = self.cluster.rendezvous("learner")
        gpus = self.placement.role("learner").gpus
        env = {"OMP_NUM_THREADS": str(recipe.learner.threads), "PATH": search_path()}
        return [
            self.cluster.actor(
                ZeroLearner,
                recipe.learner,
                recipe.model,
                rank=rank,
                world_size=recipe.learner.ranks,
                master_addr=address,
                master_port=port,
                role="learner",
                place=rank,
                env=env if gpus else {"DS_ACCELERATOR": "cpu", **env},
            )
            for rank in range(recipe.learner.ranks)
        ]

    def _open_transport(self) -> Transport:
        from rl.runtime.publish import FileTransport, GpuTransport

        assert self._exchange is not None
        if self.recipe.rollout.engine.way_in == "file":
            return FileTransport(self.learner, self.pool, self._exchange)
        return GpuTransport(self.learner, self.pool, self._exchange, self._open_channel)

    def _open_channel(self, workers: Sequence[Handle]) -> Channel:
        rollout = self.recipe.rollout
        channel: Channel = rollout.engine.open_channel(
            workers, rollout.publish_deadline_s, lambda: self.cluster.rendezvous("learner")
        )
        return channel

    # -- weights

    def serve(self, folder: Path) -> Mapping[str, float]:
        """The rollout workers take a checkpoint's weights, through the learner, unless they hold
        them; once more where the learner is lost in it. Returns what `publish` does."""
        if self.holds != folder:
            self.with_learner(lambda: self._load(folder))
        return self._published

    def _load(self, folder: Path) -> None:
        plan = OptimPlan(lr=1e-6, total_steps=1)
        self.learner.begin_stage(str(folder), plan, needs_reference=False)
        self.publish(folder)

    def publish(self, folder: Path | None = None) -> Mapping[str, float]:
        """One transaction: the learner's weights become version + 1 everywhere, then the gate.

        folder: the checkpoint that holds these very weights, where one is written: `serve` of it
            then has nothing to do.

        Returns parity/max, parity/mean, version and time/publish_s. Raises: ParityError, which
        stops the run.
        """
        started = time.perf_counter()
        self.holds = None
        published = self.transport.publish(self.version + 1)
        self.version = published.version
        self.parity = self.gate.check(
            self.learner, self.pool, version=self.version, path=published.path
        )
        seconds = time.perf_counter() - started
        measured = {"version": float(self.version), "time/publish_s": seconds}
        self._published = {**self.parity.metrics, **measured}
        self.holds = folder
        return self._published

    def resume_from(self, version: int) -> None:
        """The next publish has at least this version: that which the weights of a checkpoint had
        before the run was interrupted."""
        self.version = max(self.version, version - 1)

    def save(self, folder: Path) -> None:
        """Writes the policy as a folder that `from_pretrained` and `vllm serve` open as it is."""
        self.learner.save(str(folder))
        self.renderer.processor.save_pretrained(str(folder))

    # -- a lost learner

    def with_learner(self, work: Callable[[], Done]) -> Done:
        """What `work` gives; where a learner is lost in it, it is done again with a new one,
        `learner.max_restarts` times at most. Raises: what `work` does."""
        for _ in range(self.recipe.learner.max_restarts):
            try:
                return work()
            except RunError as error:
                if self._is_ending():
                    raise
                self.revive_learner(error)
        return work()

    def revive_learner(self, error: RunError) -> None:
        """Starts all ranks again where one was lost: a process group has no place for a newcomer.

        Raises: `error` itself where every rank lives.
        """
        # A rank's own error may come before its node is known to be lost; a deadline comes after.
        lost = self.learner.lost(0.0 if isinstance(error, DeadlineError) else NODE_LOSS_S)
        if not lost:
            raise error
        self.tell("learner_lost", ranks=lost)
        for rank in self.learner.ranks:
            rank.stop()
        started = self.replace_actors(self._start_learner)
        self.learner.ranks = list(started)
        self.tell("learner_restarted", ranks=[handle.name for handle in started])
