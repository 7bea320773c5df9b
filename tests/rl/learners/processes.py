"""Learners in processes of their own, one a rank, and two ways through the same steps: in one go,
and in two halves with a saved state between them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rl.algorithms.sft import SFT
from rl.data.tree import Tree
from rl.learners.base import LearnerConfig, OptimPlan
from rl.learners.group import LearnerGroup
from rl.learners.zero import ZeroLearner
from rl.models.spec import ModelConfig
from rl.runtime.cluster import Cluster
from rl.runtime.placement import Role, RuntimeConfig, place
from tests.rl.learners import zero_child
from tests.rl.learners.trajectory import CONFIG, TEN, free_port

ELSEWHERE = replace(TEN, lr=1e-2, schedule="constant", weight_decay=0.0, betas=(0.5, 0.9), seed=7)
Metrics = list[dict[str, float]]
Shares = list[list[list[Tree]]]  # a rank's steps' trees


class Ranks:
    """Processes that stay: learner after learner starts in them, one a rank. `config`: the
    latest's.
    """

    def __init__(self, count: int, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.path, self.port, self.config = str(path), free_port(), CONFIG
        self.pools = [ProcessPoolExecutor(1, context) for _ in range(count)]
        self.pids: list[int] = []

    def start(
        self, changes: dict[str, Any], base: LearnerConfig = CONFIG, *, opens_float16: bool = False
    ) -> None:
        """A learner with these changes to `base` on every rank, in the place of the one before."""
        count = len(self.pools)
        self.config = LearnerConfig(**{**base.model_dump(), "ranks": count, **changes})
        self.pids = self.each(
            zero_child.start,
            [(self.config, self.path, rank, count, self.port) for rank in range(count)],
            opens_float16=opens_float16,
        )

    def train(
        self, shares: Shares, out: Path, plan: OptimPlan = TEN, **state: str
    ) -> tuple[Metrics, dict[str, Tensor]]:
        """Rank 0's metrics of the steps, and the weights that it published. `state`: see
        zero_child.train.
        """
        files = [str(out / f"{rank}.safetensors") for rank in range(len(self.pools))]
        found = self.each(
            zero_child.train,
            [
                (self.path, plan, steps, SFT(), file)
                for steps, file in zip(shares, files, strict=True)
            ],
            **state,
        )
        for metrics in found:
            assert [m["loss"] for m in metrics] == [m["loss"] for m in found[0]]
        return found[0], load_file(files[0])

    def each(self, function: Any, arguments: list[tuple[Any, ...]], **kwargs: Any) -> list[Any]:
        """The function on every rank at once."""
        calls = [
            pool.submit(function, "learner", *args, **kwargs)
            for pool, args in zip(self.pools, arguments, strict=True)
        ]
        return [call.result(200) for call in calls]

    def stop(self) -> None:
        """Ends the processes, one that waits for another included."""
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def two_actors(config: LearnerConfig, path: Path) -> Iterator[LearnerGroup]:
    """Two ranks as a run starts them: Ray actors of a cluster."""
    with Cluster(RuntimeConfig(num_cpus=2, dashboard=False), namespace="test-learners") as cluster:
        cluster.reserve(place([Role("learner", 2, 1.0)], cluster_cpus=2, cluster_gpus=0))
        address, port = cluster.rendezvous("learner")
        ranks = [
            cluster.actor(
                ZeroLearner,
                config,
                ModelConfig(path=str(path)),
                rank=rank,
                world_size=2,
                master_addr=address,
                master_port=port,
                role="learner",
                place=rank,
                env={"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
            )
            for rank in range(2)
        ]
        for rank in ranks:
            rank.ready(300)
        yield LearnerGroup(ranks, deadline_s=200)


class Course:
    """Steps of a started engine, and the same in two halves with a saved state between them."""

    def __init__(self, ranks: Ranks, shares: Shares, out: Path, plan: OptimPlan = TEN) -> None:
        self.ranks, self.shares, self.out, self.plan = ranks, shares, out, plan
        self.config = ranks.config
        self.found = ranks.train(shares, out, plan)

    def assert_resumes(self) -> None:
        """The second half, on the engine that trained something else in between, in the same bits
        as in one go.
        """
        assert self.ranks.config is self.config  # nothing was started in its place
        half, state = len(self.shares[0]) // 2, str(self.out / "state")
        first = [steps[:half] for steps in self.shares]
        second = [steps[half:] for steps in self.shares]
        begun, _ = self.ranks.train(first, self.out, self.plan, saved=state)
        self.ranks.train([steps[-2:] for steps in self.shares], self.out, ELSEWHERE)
        ended, weights = self.ranks.train(second, self.out, self.plan, taken_up=state)
        assert [timeless(row) for row in begun + ended] == [timeless(r) for r in self.found[0]]
        assert differing(weights, self.found[1]) == []


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    """Names of the weights that are not the same bits."""
    assert ours.keys() == theirs.keys()
    return [name for name, weight in ours.items() if not torch.equal(weight, theirs[name])]


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}
