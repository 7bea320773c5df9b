"""Config to objects: the only file that names concrete classes. A `Engines` is the engines of a
run, live."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recipes.planning.actors import roles
from recipes.schema.recipe import Recipe
from rl.core import Labelled, Preference, Sample, Sampling
from rl.errors import ActorLostError, DeadlineError, RunError
from rl.learners.base import OptimPlan, SamplingDistribution
from rl.learners.group import LearnerGroup
from rl.runtime.placement import place

if TYPE_CHECKING:
    from rewards.base import RewardConfig
    from rewards.pool import RewardPool
    from rl.data.render import Renderer
    from rl.learners.base import Channel
    from rl.runtime.actors import Handle
    from rl.runtime.cluster import Cluster, RayHandle
    from rl.runtime.publish import Transport
    from rollouts.base import RolloutConfig
    from rollouts.pool import Pool

Record = Sample | Preference | Labelled
Done = TypeVar("Done")
# Ray takes about this long to be sure of a lost node.
_NODE_LOSS_S = 30.0


def open_renderer(recipe: Recipe) -> Renderer:
    """Opens the processor of the recipe's model. Raises: ModelError naming what the folder
    lacks."""
    from rl.data.render import Renderer
    from rl.models.load import find_spec, load_processor

    processor = load_processor(recipe.model.path, recipe.model.max_pixels)
    spec = find_spec(recipe.model.path, processor)
    return Renderer(processor, spec, recipe.rollout.max_model_len)


class Engines:
    """Learner, rollout workers and reward workers on Ray, with one weight version at a time.

    `serve(checkpoint)` and `publish()` are the only ways in which weights reach the rollout
    workers. Both end in the parity gate, which compares log-probs of some of `prompts` between
    engine and learner.

        with Engines(recipe, renderer, prompts, name="my-run") as engines:  # waits for every actor
            engines.serve(checkpoint)             # the workers sample from a checkpoint's weights
            scorer = engines.rewards(configs)     # starts reward workers, or keeps those that run
            engines.learner.begin_stage(str(checkpoint), plan, needs_reference=False)
            ...                                   # updates the learner's weights
            engines.publish()                     # the workers sample from the new weights
            engines.save(folder)                  # a folder that from_pretrained opens
    """

    def __init__(
        self, recipe: Recipe, renderer: Renderer, prompts: Sequence[Sample], *, name: str
    ) -> None:
        from rl.runtime.cluster import Cluster
        from rl.runtime.exchange import make_exchange
        from rl.runtime.parity import ParityGate, choose_probes

        self.recipe, self.renderer = recipe, renderer
        self.version = 0
        self.on_event: Callable[..., None] = lambda event, **facts: None
        self.at: Mapping[str, Any] = {}  # the stage and step under way: what events say of both
        self.is_ending: Callable[[], bool] = lambda: False  # a stop was asked for: nothing restarts
        self.holds: Path | None = None  # the checkpoint whose weights the workers serve
        self._published: Mapping[str, float] = {}
        self.gate = ParityGate(
            choose_probes(prompts, has_vision=renderer.spec.has_vision),
            renderer.prompt_ids,
            self.distribution(recipe.rollout.temperature),
            dtype=recipe.rollout.dtype,
            image_token_id=renderer.spec.image_token_id,
            seed=recipe.run.seed,
            remedies=recipe.rollout.engine.remedies,
        )
        self._reward_pools: dict[tuple[str, ...], RewardPool] = {}
        self.cluster: Cluster = Cluster(recipe.runtime, namespace=f"plumbline-{name}-{os.getpid()}")
        self._exchange: Path | None = None
        try:
            self._exchange = make_exchange(_exchange_root(recipe))
            supply = self.cluster.resources()
            self.placement = place(
                roles(recipe), cluster_cpus=supply["CPU"], cluster_gpus=supply["GPU"]
            )
            self.cluster.reserve(self.placement)
            self._start_actors()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends every actor and what Ray started for them."""
        if self._exchange is not None:  # first: the process may be ended before slow actors are
            shutil.rmtree(self._exchange, ignore_errors=True)
        self.cluster.stop()

    def _start_actors(self) -> None:
        from rollouts.pool import Pool

        recipe = self.recipe
        ranks = self._start_learner()
        if recipe.rollout.engine.way_in == "ipc":
            # An engine may measure the free memory of a GPU as it starts: the learner is first.
            for handle in ranks:
                self._ready(handle)
        workers = [self._start_rollout(index) for index in range(recipe.rollout.workers)]
        for handle in [*ranks, *workers]:
            self._ready(handle)
        self.learner = LearnerGroup(ranks, deadline_s=recipe.learner.deadline_s)
        self.pool: Pool = Pool(
            workers,
            self.renderer.prompt_text,
            max_num_seqs=recipe.rollout.max_num_seqs,
            deadline_s=recipe.rollout.deadline_s,
            publish_deadline_s=recipe.rollout.publish_deadline_s,
            restart=lambda index: self._replace_one(lambda: self._start_rollout(index)),
            max_restarts=recipe.rollout.max_restarts,
            on_event=self._tell,
        )
        self.transport: Transport = self._open_transport()
        self.gate.check(self.learner, self.pool, version=0)

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

    def _start_learner(self) -> list[RayHandle]:
        from rl.learners.zero import ZeroLearner

        recipe = self.recipe
        address, port = self.cluster.rendezvous("learner")
        gpus = self.placement.role("learner").gpus
        env = {"OMP_NUM_THREADS": str(recipe.learner.threads), "PATH": _search_path()}
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

    def _start_rollout(self, index: int) -> RayHandle:
        model = self.recipe.model
        return self._start_engine(
            self.recipe.rollout, model.path, model.max_pixels, "rollout", index
        )

    def start_judge(self, config: RolloutConfig, path: str) -> RayHandle:
        """A rollout worker that serves a judge's own weights, beside the policy's."""
        return self._replace_one(lambda: self._start_engine(config, path, None, "judge", 0))

    def _start_engine(
        self, config: RolloutConfig, path: str, max_pixels: int | None, role: str, index: int
    ) -> RayHandle:
        from rollouts.worker import RolloutWorker

        return self.cluster.actor(
            RolloutWorker,
            config,
            path,
            max_pixels,
            index=index,
            role=role,
            place=index,
            env={"PATH": _search_path(), **config.engine.environment(config.threads)},
        )

    def _start_reward(self, configs: Sequence[RewardConfig], index: int) -> RayHandle:
        from rewards.worker import RewardWorker

        return self.cluster.actor(
            RewardWorker,
            tuple(configs),
            deadline_s=self.recipe.reward_workers.answer_deadline_s,
            base=str(Path.cwd()),
            role="reward",
            place=index,
        )

    def _ready(self, handle: RayHandle) -> RayHandle:
        handle.ready(self.recipe.runtime.start_deadline_s)
        return handle

    def _replace_one(self, start: Callable[[], RayHandle]) -> RayHandle:
        (handle,) = self._replace(lambda: [start()])
        return handle

    def _replace(self, start: Callable[[], list[RayHandle]]) -> list[RayHandle]:
        """Successors of lost actors. Until Ray is sure that a node is lost it gives out places on
        it, and what starts there is lost as well: started again then.
        """
        ends = time.monotonic() + _NODE_LOSS_S
        while True:
            handles = start()
            try:
                return [self._ready(handle) for handle in handles]
            except ActorLostError:
                if time.monotonic() > ends:
                    raise
                for handle in handles:
                    handle.stop()
                time.sleep(1.0)

    def _tell(self, event: str, **facts: Any) -> None:
        self.on_event(event, **{**self.at, **facts})

    def revive_learner(self, error: RunError) -> None:
        """Starts all ranks again where one was lost: a process group has no place for a newcomer.

        Raises: `error` itself where every rank lives.
        """
        # A rank's own error may come before its node is known to be lost; a deadline comes after.
        lost = self.learner.lost(0.0 if isinstance(error, DeadlineError) else _NODE_LOSS_S)
        if not lost:
            raise error
        self._tell("learner_lost", ranks=lost)
        for rank in self.learner.ranks:
            rank.stop()
        started = self._replace(self._start_learner)
        self.learner.ranks = list(started)
        self._tell("learner_restarted", ranks=[handle.name for handle in started])

    def rewards(self, configs: Sequence[RewardConfig]) -> RewardPool:
        """Reward workers for these rewards; the same list gets the same workers."""
        from rewards.pool import RewardPool

        key = tuple(config.model_dump_json() for config in configs)
        if key not in self._reward_pools:
            for pool in self._reward_pools.values():
                pool.stop()
            self._reward_pools.clear()
            section = self.recipe.reward_workers
            handles = [self._start_reward(configs, index) for index in range(section.workers)]
            self._reward_pools[key] = RewardPool(
                [self._ready(handle) for handle in handles],
                deadline_s=section.deadline_s,
                restart=lambda i: self._replace_one(lambda: self._start_reward(configs, i)),
                max_restarts=section.max_restarts,
                on_event=self._tell,
            )
        return self._reward_pools[key]

    def distribution(self, temperature: float) -> SamplingDistribution:
        """The distribution that the engine samples from: temperature and banned ids."""
        return SamplingDistribution(
            temperature=temperature, banned_ids=tuple(self.renderer.spec.banned_ids)
        )

    def serve(self, checkpoint: Path) -> Mapping[str, float]:
        """The rollout workers take a checkpoint's weights, through the learner, unless they hold
        them; once more where the learner is lost in it. Returns what `publish` does."""
        if self.holds != checkpoint:
            self.with_learner(lambda: self._load(checkpoint))
            self.holds = checkpoint
        return self._published

    def _load(self, checkpoint: Path) -> None:
        plan = OptimPlan(lr=1e-6, total_steps=1)
        self.learner.begin_stage(str(checkpoint), plan, needs_reference=False)
        self.publish()

    def with_learner(self, work: Callable[[], Done]) -> Done:
        """What `work` gives; where a learner is lost in it, it is done again with a new one,
        `learner.max_restarts` times at most. Raises: what `work` does."""
        for _ in range(self.recipe.learner.max_restarts):
            try:
                return work()
            except RunError as error:
                if self.is_ending():
                    raise
                self.revive_learner(error)
        return work()

    def publish(self) -> Mapping[str, float]:
        """One transaction: the learner's weights become version + 1 everywhere, then the gate.

        Returns parity/max, parity/mean, version and time/publish_s. Raises: ParityError, which
        stops the run.
        """
        started = time.perf_counter()
        self.holds = None
        published = self.transport.publish(self.version + 1)
        self.version = published.version
        report = self.gate.check(self.learner, self.pool, version=self.version, path=published.path)
        seconds = time.perf_counter() - started
        measured = {"version": float(self.version), "time/publish_s": seconds}
        self._published = {**report.metrics, **measured}
        return self._published

    def sampling(
        self, *, n: int, temperature: float, max_new_tokens: int, step: int = 0
    ) -> Sampling:
        """A Sampling with the run's seed."""
        return Sampling(
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=self.recipe.run.seed,
            step=step,
        )

    def save(self, folder: Path) -> None:
        """Writes the policy as a folder that `from_pretrained` and `vllm serve` open as it is."""
        self.learner.save(str(folder))
        self.renderer.processor.save_pretrained(str(folder))


def prompts_of(records: Sequence[Record]) -> list[Sample]:
    """The prompts of records of any kind: without the answer, as an engine is asked."""
    found = []
    for record in records:
        sample = record if isinstance(record, Sample) else record.sample
        if sample.messages[-1].role == "assistant":
            sample = replace(sample, messages=sample.messages[:-1])
        found.append(sample)
    return found


def _exchange_root(recipe: Recipe) -> Path:
    """Where all nodes can read: shared memory where there is one."""
    if recipe.runtime.address is not None or "RAY_ADDRESS" in os.environ:
        return Path(recipe.run.root).resolve()
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return shared if usable else Path(tempfile.gettempdir())


def _search_path() -> str:
    """PATH with this environment's programs first: DeepSpeed builds an extension at its first use,
    and finds ninja there."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
