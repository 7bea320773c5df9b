"""Rollout workers and reward workers on Ray, without a learner: what evaluates, samples and judges.

`recipes.engines.training` adds the learner. These two files are where a recipe's sections become
actors.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.planning.actors import roles
from recipes.schema.recipe import Recipe
from rl.core import Sample, Sampling
from rl.errors import ActorLostError
from rl.learners.base import SamplingDistribution
from rl.runtime.placement import place

if TYPE_CHECKING:
    from rewards.base import RewardConfig
    from rewards.pool import RewardPool
    from rl.data.render import Renderer
    from rl.runtime.cluster import Cluster, RayHandle
    from rl.runtime.parity import ParityGate, ParityReport
    from rollouts.base import RolloutConfig
    from rollouts.pool import Pool

OnEvent = Callable[..., None]
# Ray takes about this long to be sure of a lost node.
NODE_LOSS_S = 30.0


def no_event(event: str, **facts: Any) -> None:
    """An event that nobody records."""


class ServingEngines:
    """Rollout workers that serve one model folder at a time, and reward workers.

    The workers read the folder's weights themselves. Before the first question a plain forward pass
    of the same folder, in a process of its own that ends then, computes the log-probs of some
    sampled tokens: engine and folder must agree (the parity gate). `recipe.parity.without_learner`
    turns this off.

        with ServingEngines(recipe, renderer, prompts, name="eval") as engines:  # waits for actors
            engines.serve(Path("models/base"))      # loaded, and compared with a plain forward
            rollouts = engines.pool.sample(samples, sampling)
            scorer = engines.rewards(configs)       # starts reward workers, or keeps those that run
            engines.parity                          # what the comparison found; None: not compared

    prompts: the prompts of the recipe; the parity gate compares on eight of them.
    name: of the run; it is part of the actors' namespace.
    on_event(event, **facts): called where an actor is lost or restarted.
    is_ending(): whether a stop was asked for, so that nothing is restarted.
    """

    has_learner = False

    def __init__(
        self,
        recipe: Recipe,
        renderer: Renderer,
        prompts: Sequence[Sample],
        *,
        name: str,
        on_event: OnEvent = no_event,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        from rl.runtime.cluster import Cluster
        from rl.runtime.exchange import make_exchange
        from rl.runtime.parity import ParityGate, choose_probes

        self.recipe, self.renderer = recipe, renderer
        self.version = 0  # of the weights that the workers serve
        self.holds: Path | None = None  # the folder whose weights the workers serve
        self.parity: ParityReport | None = None  # of the weights that the workers serve
        self._on_event, self._is_ending = on_event, is_ending
        self._at: Mapping[str, Any] = {}  # the stage and step under way
        self.gate: ParityGate = ParityGate(
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
                roles(recipe, has_learner=self.has_learner),
                cluster_cpus=supply["CPU"],
                cluster_gpus=supply["GPU"],
            )
            self.cluster.reserve(self.placement)
            self._start_actors()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends every actor and what Ray started for them."""
        if self._exchange is not None:  # first: the process may be ended before slow actors are
            shutil.rmtree(self._exchange, ignore_errors=True)
        self.cluster.stop()

    def now_at(self, **where: Any) -> None:
        """What is under way, as `stage="grpo", step=12`: events of lost actors name it."""
        self._at = where

    # -- weights

    def serve(self, folder: Path) -> Mapping[str, float]:
        """The rollout workers take a folder's weights, unless they hold them already, and are
        compared with a plain forward pass of the same folder.

        Returns parity/max and parity/mean; nothing where the recipe turns the comparison off.
        Raises: ParityError if engine and folder differ; RolloutError if the weights do not fit.
        """
        if self.holds != folder:
            self.holds = None
            if self.version or folder.resolve() != Path(self.recipe.model.path).resolve():
                self.version += 1
                self.pool.publish(self.version, str(folder))
            self.parity = self._compare_with_plain_forward(folder)
            self.holds = folder
        return self.parity.metrics if self.parity is not None else {}

    def _compare_with_plain_forward(self, folder: Path) -> ParityReport | None:
        if not self.recipe.parity.without_learner:
            return None
        from rl.learners.passes import PlainForward, RemoteForward

        config = self.recipe.learner
        handle = self.cluster.actor(
            PlainForward,
            config,
            self.recipe.model,
            str(folder),
            role="forward",
            place=0,
            env={"OMP_NUM_THREADS": str(config.threads)},
        )
        try:
            self.ready(handle)
            forward = RemoteForward(handle, deadline_s=config.deadline_s)
            path = str(folder) if self.version else ""
            return self.gate.check(forward, self.pool, version=self.version, path=path)
        finally:
            handle.stop()  # its memory is free before the first question

    # -- actors

    def _start_actors(self) -> None:
        workers = [self.start_rollout(index) for index in range(self.recipe.rollout.workers)]
        for handle in workers:
            self.ready(handle)
        self.pool = self.make_pool(workers)

    def make_pool(self, workers: Sequence[RayHandle]) -> Pool:
        """These workers as one sampler that restarts those that are lost."""
        from rollouts.pool import Pool

        rollout = self.recipe.rollout
        return Pool(
            workers,
            self.renderer.prompt_text,
            max_num_seqs=rollout.max_num_seqs,
            deadline_s=rollout.deadline_s,
            publish_deadline_s=rollout.publish_deadline_s,
            restart=lambda index: self._replace_one(lambda: self.start_rollout(index)),
            max_restarts=rollout.max_restarts,
            on_event=self.tell,
        )

    def start_rollout(self, index: int) -> RayHandle:
        """Starts a rollout worker with the recipe's model. Does not wait for it."""
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
            env={"PATH": search_path(), **config.engine.environment(config.threads)},
        )

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
                [self.ready(handle) for handle in handles],
                deadline_s=section.deadline_s,
                restart=lambda i: self._replace_one(lambda: self._start_reward(configs, i)),
                max_restarts=section.max_restarts,
                on_event=self.tell,
            )
        return self._reward_pools[key]

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

    def ready(self, handle: RayHandle) -> RayHandle:
        """The handle, once its actor's constructor has returned."""
        handle.ready(self.recipe.runtime.start_deadline_s)
        return handle

    def _replace_one(self, start: Callable[[], RayHandle]) -> RayHandle:
        (handle,) = self.replace_actors(lambda: [start()])
        return handle

    def replace_actors(self, start: Callable[[], list[RayHandle]]) -> list[RayHandle]:
        """Successors of lost actors. Until Ray is sure that a node is lost it gives out places on
        it, and what starts there is lost as well: started again then.
        """
        ends = time.monotonic() + NODE_LOSS_S
        while True:
            handles = start()
            try:
                return [self.ready(handle) for handle in handles]
            except ActorLostError:
                if time.monotonic() > ends:
                    raise
                for handle in handles:
                    handle.stop()
                time.sleep(1.0)

    def tell(self, event: str, **facts: Any) -> None:
        """Reports an event, with the stage and step under way."""
        self._on_event(event, **{**self._at, **facts})

    # -- sampling

    def distribution(self, temperature: float) -> SamplingDistribution:
        """The distribution that the engine samples from: temperature and banned ids."""
        return SamplingDistribution(
            temperature=temperature, banned_ids=tuple(self.renderer.spec.banned_ids)
        )

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


def _exchange_root(recipe: Recipe) -> Path:
    """Where all nodes can read: shared memory where there is one."""
    if recipe.runtime.address is not None or "RAY_ADDRESS" in os.environ:
        return Path(recipe.run.root).resolve()
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return shared if usable else Path(tempfile.gettempdir())


def search_path() -> str:
    """PATH with this environment's programs first: DeepSpeed builds an extension at its first use,
    and finds ninja there."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
