"""The learner on DeepSpeed: ZeRO 0 to 3 with AdamW, on CPU (gloo) or GPU (nccl). This is the only
file that imports deepspeed.

Shapes: N trained tokens of a micro-batch. A branch is one completion of a tree's trunk.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl.algorithms.base import Algorithm, fill_old_logps
from rl.batch import MicroBatch
from rl.data.collate import ImageStore
from rl.data.tree import Tree
from rl.errors import ConfigError, ModelError, errors_as
from rl.learners import state
from rl.learners.base import Channel, LearnerConfig, OptimPlan, SamplingDistribution, Sender
from rl.learners.engine import engine_config
from rl.learners.environment import is_on_gpu, set_environment
from rl.learners.extension_lock import no_stale_locks
from rl.learners.passes import Passes
from rl.learners.rank_passes import RankPasses
from rl.learners.ranks import Ranks, Sums
from rl.learners.rendezvous import store_on_loopback
from rl.learners.schedule import rate
from rl.learners.updates import (
    ONE_UPDATE,
    Part,
    Prepared,
    PreparedStep,
    RankStep,
    Updates,
    run_step,
)
from rl.learners.weights import Weights, write_checkpoint, write_file
from rl.models.adapters import Adapter
from rl.models.forward import TreeForward
from rl.models.load import find_spec, freeze, load_model, load_processor
from rl.models.spec import ModelConfig


class ZeroLearner:
    """One rank of the learner: an rl.learners.base.Learner. Every rank gets the same calls:

        learner = ZeroLearner(config, model, rank, world_size, address, port)  # waits for all ranks
        learner.begin_stage(checkpoint, plan, needs_reference=False)
        metrics = learner.step(my_trees, algorithm, distribution)
        learner.publish(path)  # at ZeRO-3 all ranks gather each block, and rank 0 writes

    One DeepSpeed engine serves all stages: `begin_stage` loads weights into it. Gradients are added
    up over the step's micro-batches, and nothing divides them: DeepSpeed takes the mean over ranks,
    which a factor of the world size undoes.

    With a dtype below float32, gradients are added up in that dtype, and AdamW's float32 master
    weights start from the rounded weights. A float16 step that overflows changes no weight
    (metric `skipped`), and the schedule counts it as an update.
    """

    def __init__(
        self,
        config: LearnerConfig,
        model: ModelConfig,
        rank: int = 0,
        world_size: int = 1,
        master_addr: str = "127.0.0.1",
        master_port: int = 29500,
    ) -> None:
        self.config, self.rank, self.world_size = config, rank, world_size
        torch.set_num_threads(config.threads)
        self.deepspeed = _start_deepspeed(rank, world_size, master_addr, master_port)
        self.device = "cuda" if is_on_gpu() else "cpu"
        self.ranks = Ranks(world_size, self.device)
        if config.dtype == "float16" and not _computes_float16(self.deepspeed):
            raise ConfigError(
                "float16 is not supported on this device",
                where="learner.dtype",
                expected="float32 or bfloat16; float16 on a GPU",
                do="set learner.dtype: float32 or bfloat16",
            )
        processor = load_processor(model.path, model.max_pixels)
        self.spec = find_spec(model.path, processor)
        plain = load_model(model.path, config.dtype)
        freeze(plain, self.spec, model.freeze)
        self.adapter = Adapter()
        self.model = self.adapter.wrap(plain)
        layout = self.spec.layout if config.layout == "auto" else config.layout
        if layout == "tree" and self.spec.layout == "rows":
            raise ModelError(
                f"tree layout is not valid for {self.spec.name}", do="set learner.layout: rows"
            )
        passes = Passes(
            spec=self.spec,
            store=ImageStore(self.spec),
            layout=layout,
            row_tokens=config.row_tokens,
            tokens_per_microbatch=config.tokens_per_microbatch,
            dtype=getattr(torch, config.dtype),
            device=self.device,
        )
        keeps_gradients = config.zero == 3 or config.offload
        self.rank_passes = RankPasses(passes, self.ranks, keeps_gradients=keeps_gradients)
        self._build_engine()
        self.weights = Weights(self.model, self._whole, self.adapter)
        self._sender: Sender | None = None
        self._reference: TreeForward | None = None
        self._plan = OptimPlan(lr=0.0, total_steps=1)
        self._updates = self._num_prepared = 0
        self._prepared: PreparedStep | None = None

    # -- stages

    def begin_stage(self, checkpoint: str, plan: OptimPlan, *, needs_reference: bool) -> None:
        """Loads a checkpoint's weights into the live engine, and resets optimizer and schedule.

        Raises: ModelError if the checkpoint is of another model.
        """
        fresh = self.adapter.wrap(load_model(checkpoint, self.config.dtype))
        self._take_weights(fresh, checkpoint)
        self.adapter.reset()
        self._reference = self._prepared = None
        if needs_reference:
            frozen = self.adapter.reference(fresh).to(self.device)
            self._reference = TreeForward(frozen, self.spec)
        self._plan, self._updates = plan, 0
        self.engine.basic_optimizer.state.clear()  # AdamW's moments and step counts
        # DeepSpeed hands on the optimizer's own parameter groups: what is set here is used.
        for group in self._param_groups():
            decay = plan.weight_decay if group["decays"] else 0.0
            group.update(betas=plan.betas, eps=plan.eps, weight_decay=decay)
        if hasattr(self.engine.optimizer, "clip_grad"):
            self.engine.optimizer.clip_grad = plan.max_grad_norm
        if self._first_scale:  # float16: the loss scale is reset with the optimizer
            vars(self.engine.optimizer.loss_scaler).update(self._first_scale)
        torch.manual_seed(plan.seed)

    def step(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        updates: Updates = ONE_UPDATE,
        seed: str = "",
    ) -> Mapping[str, float]:
        """Prepares the step and makes all its updates. Every rank is called with its own trees."""
        return run_step(self, trees, algorithm, distribution, updates=updates, seed=seed)

    def prepare(
        self,
        trees: Sequence[Tree],
        algorithm: Algorithm,
        distribution: SamplingDistribution,
        *,
        needs_old_logps: bool = False,
    ) -> Prepared:
        """Lets the algorithm fill in what the loss reads; this rank keeps its trees."""
        started = time.perf_counter()
        self.rank_passes.check_layouts(trees, partial(self._forward, distribution=distribution))
        step = RankStep(trees, distribution, self._logprobs, self.ranks)
        measured = algorithm.prepare(step)
        if needs_old_logps:
            fill_old_logps(step)
        self._num_prepared += 1
        everyone = self.ranks.gather([tree.uid for tree in step.trees])
        handle = Prepared(
            number=self._num_prepared,
            uids=tuple(uid for uids in everyone for uid in uids),
            metrics=self.ranks.means(measured),
            seconds=time.perf_counter() - started,
        )
        self._prepared = PreparedStep(handle, step, algorithm)
        return handle

    def update(self, prepared: Prepared, part: Part) -> Mapping[str, float]:
        """One optimizer step over the part's trees of all ranks.

        A part without a trained token on any rank changes nothing: not even AdamW's moments.
        """
        started = time.perf_counter()
        current = PreparedStep.check(self._prepared, prepared)
        algorithm, distribution = current.algorithm, current.step.distribution
        trees = part.of(current.step.trees)
        denominators = algorithm.denominators(current.step.part(trees))
        counted = time.perf_counter()
        sums = Sums(denominators.metrics)
        has_loss = self.ranks.total([sum(tree.num_trained for tree in trees)])[0] > 0
        passes = self.rank_passes.over(trees, learns=True)
        plans = passes.plans(trees) if has_loss else []
        idle = self.rank_passes.idle_batches(passes, len(plans))
        for plan in plans:
            batch = passes.batch(trees, plan)
            loss = algorithm.loss(
                batch.tree_batch(self._forward(batch, distribution)), denominators
            )
            # The loss is a sum over global denominators already. DeepSpeed takes the mean over the
            # ranks: times their number, it is the sum again.
            self.engine.backward(loss.value * self.world_size, scale_wrt_gas=False)
            sums.add(batch, plan, loss)
        for batch in idle:
            self.engine.backward(self._forward(batch, distribution).sum() * 0, scale_wrt_gas=False)
        metrics = self._update() if has_loss else {"lr": 0.0, "grad_norm": 0.0}
        metrics |= sums.over(self.ranks)
        metrics["time/reference_s"] = counted - started
        metrics["time/update_s"] = time.perf_counter() - counted
        return metrics

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        """By tree and branch: log-probs of the trained tokens [tokens], without gradient."""
        self.rank_passes.check_layouts(trees, partial(self._forward, distribution=distribution))
        by_tree = self._logprobs(trees, distribution, reference=reference)
        return [[tuple(values.tolist()) for values in branches] for branches in by_tree]

    # -- weights leave the learner

    def publish(self, path: str) -> None:
        """Writes all weights to one safetensors file, under the checkpoint's names (rank 0)."""
        write_file(self.weights, Path(path), is_writer=self.rank == 0)

    def connect(self, channel: Channel) -> None:
        """Opens the channel that `send` uses, and closes an earlier one. Every rank is called."""
        if self._sender is not None:
            self._sender.shutdown()
        self._sender = channel.open(self.weights, self.rank)

    def send(self) -> None:
        """Sends the weights to the rollout workers, GPU to GPU. Every rank is called: they gather
        the blocks together, and rank 0 leads the workers through the update.

        Raises: ModelError if no channel is open.
        """
        if self._sender is None:
            raise ModelError("no way to the rollout workers is open", do="call connect first")
        self._sender.send_weights()

    def save(self, folder: str) -> None:
        """Writes weights, config and generation config as `from_pretrained` opens them (rank 0)."""
        write_checkpoint(self.weights, Path(folder), is_writer=self.rank == 0)

    # -- saved states

    def save_state(self, folder: str) -> None:
        """Writes what a resumed stage continues from: weights and optimizer as this rank holds
        them, the number of updates, and every random state. Every rank writes its part of `folder`.
        """
        self.engine.save_checkpoint(folder, tag=state.STATE_TAG, save_latest=False)
        if self.rank == 0:
            state.save_settings(Path(folder), self.config)
        state.save_random_states(Path(folder), self.rank, self._updates)

    def load_state(self, folder: str) -> None:
        """Loads a saved state, after `begin_stage` with the plan that it was saved under.

        Raises: ModelError naming the settings that differ from those it was saved with.
        """
        state.check_settings(Path(folder), self.config)
        with errors_as(
            ModelError,
            "the saved state does not fit: {error}",
            where=folder,
            expected="a state of this model with the same model.freeze",
            do="put model.path and model.freeze back, or train again from the start with --fresh",
        ):
            path, _ = self.engine.load_checkpoint(
                folder, state.STATE_TAG, load_lr_scheduler_states=False
            )
            if path is None:
                raise FileNotFoundError("DeepSpeed found nothing in it")
            self._updates = state.load_random_states(Path(folder), self.rank)

    # -- the engine

    def _build_engine(self) -> None:
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        if not named:
            raise ModelError("every parameter is frozen", do="freeze less")
        # No weight decay for biases and norms (vectors): the usual choice for transformers.
        groups = [
            {"params": [p for _, p in named if p.ndim >= 2], "decays": True},
            {"params": [p for _, p in named if p.ndim < 2], "decays": False},
        ]
        optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=0.0, weight_decay=0.0, fused=True
        )
        self.engine, *_ = self.deepspeed.initialize(
            model=TreeForward(self.model, self.spec),
            optimizer=optimizer,
            config=engine_config(self.config),
        )
        self.engine.train()
        self._norm = 0.0
        scaler = getattr(self.engine.optimizer, "loss_scaler", None)
        self._first_scale = dict(vars(scaler)) if scaler is not None else {}
        if not hasattr(self.engine.optimizer, "clip_grad"):  # ZeRO 0 in float32: plain AdamW
            self.engine.optimizer.register_step_pre_hook(self._clip)
            if self.world_size == 1:  # no other rank's gradients to add: spare their copies
                self.engine.enable_backward_allreduce = False

    def _clip(self, *_: Any) -> None:
        """Clips by the global norm before AdamW's step. Only ZeRO 0 in float32 needs it: there
        DeepSpeed hands the gradients to plain AdamW, and every rank holds all of them.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in parameters:
            # A step without images leaves the tower's gradients out. They count as 0, as where
            # gradients of several ranks are added up: moments and weight decay go on.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        limit = self._plan.max_grad_norm or float("inf")
        self._norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True))

    def _param_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self.engine.basic_optimizer.param_groups
        return groups

    def _update(self) -> dict[str, float]:
        self._updates += 1
        lr = rate(self._plan, self._updates)
        for group in self._param_groups():
            group["lr"] = lr
        scale = float(getattr(self.engine.optimizer, "loss_scale", 1.0))
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        metrics = {"lr": lr, "grad_norm": self._norm if norm is None else float(norm)}
        if self.config.dtype == "float16":
            metrics["loss_scale"] = scale
            metrics["skipped"] = float(not self.engine.was_step_applied())
        return metrics

    def _take_weights(self, fresh: Any, checkpoint: str) -> None:
        new = dict(fresh.named_parameters()) | dict(fresh.named_buffers())
        with self._whole(list(self.model.parameters()), writes=True):
            old = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
            wrong = [n for n in old | new if n not in old or n not in new]
            wrong += [n for n in old if n in new and old[n].shape != new[n].shape]
            if wrong:
                raise ModelError(
                    f"the checkpoint is another model's: {wrong[0]} does not fit",
                    where=checkpoint,
                    expected="the architecture that the learner was started with",
                    do="start the stage from a checkpoint of this model",
                )
            with torch.no_grad():
                for name, tensor in old.items():
                    tensor.copy_(new[name])
        # Below float32 (and at ZeRO 1 to 3) the optimizer steps on masters of its own.
        if hasattr(self.engine.optimizer, "refresh_fp32_params"):
            self.engine.optimizer.refresh_fp32_params()

    @contextlib.contextmanager
    def _whole(self, parameters: Sequence[Any], *, writes: bool = False) -> Iterator[None]:
        """Inside the block these parameters are whole; at ZeRO-3 all ranks gather them together."""
        if self.config.zero < 3:
            yield
            return
        source = 0 if writes else None  # rank 0's changes are sent to all when the block ends
        with self.deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=source):
            yield

    # -- passes

    def _forward(self, batch: MicroBatch, distribution: SamplingDistribution) -> Tensor:
        logp_N: Tensor = self.engine(batch, distribution.temperature, distribution.banned_ids)
        return logp_N

    def _logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[Tensor]]:
        if not reference:
            forward = partial(self._forward, distribution=distribution)
            return self.rank_passes.logprobs(trees, forward)
        if self._reference is None:
            raise ModelError(
                "no reference model is kept", do="call begin_stage(..., needs_reference=True)"
            )
        kept = partial(
            self._reference,
            temperature=distribution.temperature,
            banned_ids=distribution.banned_ids,
        )
        # The reference is whole on every rank: its passes hold no collective.
        return self.rank_passes.passes.logprobs(trees, kept)


def _computes_float16(deepspeed: Any) -> bool:
    """Whether DeepSpeed trains float16 on this device: a GPU, or a CPU whose oneDNN computes it."""
    return bool(deepspeed.accelerator.get_accelerator().is_fp16_supported())


def _start_deepspeed(rank: int, world_size: int, master_addr: str, master_port: int) -> Any:
    """The deepspeed module, once all ranks have joined the process group."""
    set_environment(rank, world_size, master_addr, master_port)
    import deepspeed
    import transformers

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    backend = "nccl" if is_on_gpu() else "gloo"
    with no_stale_locks(), store_on_loopback(rank, master_addr, master_port):
        deepspeed.init_distributed(dist_backend=backend, verbose=False)
    return deepspeed
