"""What the tests run in a process of their own: DeepSpeed's process group is the whole
process's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl.algorithms.base import Algorithm
from rl.data.tree import Tree
from rl.learners.base import LearnerConfig, OptimPlan, SamplingDistribution
from rl.learners.updates import ONE_UPDATE, Updates
from rl.models.spec import ModelConfig

LEARNERS: dict[str, Any] = {}
# Weights of fewer numbers stay whole on every rank at ZeRO-3: the norms and biases of the tiny
# model, as of a real one. By DeepSpeed's default (100 000) it would be all of them.
WHOLE_BELOW = 1000


def start(
    name: str,
    config: LearnerConfig,
    path: str,
    rank: int,
    world_size: int,
    port: int,
    *,
    opens_float16: bool = False,
) -> int:
    """A learner that later calls name. `opens_float16`: lets DeepSpeed train float16 with torch's
    own kernels where oneDNN has none for this CPU.
    """
    os.environ["DS_ACCELERATOR"] = "cpu"
    LEARNERS.pop(name, None)
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    vars(accelerator).pop("is_fp16_supported", None)
    if opens_float16:
        accelerator.is_fp16_supported = lambda: True
    from rl.learners import engine, zero

    def config_of(learner: LearnerConfig) -> dict[str, Any]:
        found = engine.engine_config(learner)
        found["zero_optimization"]["stage3_param_persistence_threshold"] = WHOLE_BELOW
        return found

    zero.engine_config = config_of
    LEARNERS[name] = zero.ZeroLearner(
        config, ModelConfig(path=path), rank, world_size, "127.0.0.1", port
    )
    if config.zero == 3:
        kept = LEARNERS[name].engine.optimizer.persistent_parameters
        assert 0 < len(kept) < len(list(LEARNERS[name].model.parameters()))
    return os.getpid()


def call(name: str, method: str, *args: Any, **kwargs: Any) -> Any:
    """One call of a started learner."""
    return getattr(LEARNERS[name], method)(*args, **kwargs)


def set_loss_scale(name: str, scale: float) -> None:
    """What the learner's dynamic loss scale has come to."""
    LEARNERS[name].engine.optimizer.loss_scaler.cur_scale = scale


def train(
    name: str,
    checkpoint: str,
    plan: OptimPlan,
    steps: Sequence[Sequence[Tree]],
    algorithm: Algorithm,
    published: str,
    *,
    needs_reference: bool = False,
    taken_up: str | None = None,
    saved: str | None = None,
    updates: Updates = ONE_UPDATE,
    first_step: int = 1,
) -> list[dict[str, float]]:
    """A stage: metrics of every step; the weights are published at its end. `taken_up`: the folder
    of the state that it goes on from; `saved`: of the state that it ends in.
    """
    at = SamplingDistribution()
    learner = LEARNERS[name]
    learner.begin_stage(checkpoint, plan, needs_reference=needs_reference)
    if taken_up is not None:
        learner.load_state(taken_up)
    metrics = [
        dict(learner.step(trees, algorithm, at, updates=updates, seed=f"0/{step}"))
        for step, trees in enumerate(steps, first_step)
    ]
    if saved is not None:
        learner.save_state(saved)
    learner.publish(published)
    return metrics


def save_in_shards(name: str, folder: str, max_shard_size: str) -> None:
    """A checkpoint of small files, as a model of more than save_pretrained's 50 GB has it."""
    from rl.learners.weights import write_checkpoint

    learner = LEARNERS[name]
    write_checkpoint(
        learner.weights,
        Path(folder),
        is_writer=learner.rank == 0,
        max_shard_size=max_shard_size,
    )


def masters(name: str, out: str) -> None:
    """Writes AdamW's float32 weights, under the checkpoint file's names. Every rank is called, and
    rank 0 writes.
    """
    from deepspeed.utils import safe_get_full_fp32_param
    from safetensors.torch import save_file

    from rl.models.load import file_weights

    learner = LEARNERS[name]
    model, optimizer = learner.model, learner.engine.optimizer
    if hasattr(optimizer, "fp32_groups"):  # ZeRO 0 below float32
        held = {
            id(weight): master.detach()
            for groups in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
            for weight, master in zip(*groups, strict=True)
        }
        whole = {n: held[id(p)] for n, p in model.named_parameters()}
    else:
        whole = {n: safe_get_full_fp32_param(p) for n, p in model.named_parameters()}
    if learner.rank:
        return
    save_file({n: w.clone() for n, w in file_weights(model, whole).items()}, out)
