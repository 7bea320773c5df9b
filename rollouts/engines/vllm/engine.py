"""One vLLM engine: it samples groups of completions and loads new weights.

`rollouts.engines.vllm.cores` runs vLLM itself; this file asks it and translates between vLLM's
types and ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.core import Completion, FinishReason, Sampling
from rl.data.images import open_image
from rl.errors import RolloutError, errors_as
from rl.models.load import family_of, weight_names
from rollouts.base import GenerateRequest, GenerateResult
from rollouts.engines.base import EngineStart

if TYPE_CHECKING:
    from rollouts.engines.vllm.cores import Core
    from rollouts.engines.vllm_settings import Vllm

# The bias that bans a token. vLLM adds it to the logit before it divides by the temperature, which
# is at most 4 (see RolloutConfig): the token's probability falls by e^-25, below what float32
# resolves.
_BAN = -100.0


class VllmEngine:
    """One vLLM engine, with continuous batching: a rollouts.engines.base.ReceivingEngine.

        engine = VllmEngine(Vllm(kv_cache_gib=0.5), start)
        engine.add(request, sampling)           # one prompt, a completion for each of its seeds
        while engine.num_unfinished:
            results = engine.step()             # groups whose completions are all done

        engine.load_weights(path)               # then every cache has to be reset
        engine.reset_caches()

    Raises: RolloutError if vLLM does not start.
    """

    def __init__(self, settings: Vllm, start: EngineStart) -> None:
        self._banned = {int(token): _BAN for token in start.banned_ids}
        self._groups: dict[int, _Group] = {}
        self._unfinished = 0
        self._serial = 0
        self._version = 0
        self._received: set[str] = set()  # names of the weights that an update has brought so far
        self._core: Core = _start(settings, start)
        self._names = weight_names(Path(start.model_path))

    @property
    def num_unfinished(self) -> int:
        """Completions under way."""
        return self._unfinished

    def add(self, request: GenerateRequest, sampling: Sampling) -> None:
        """Queues every completion of a request. Raises: vLLM's error if it rejects the prompt."""
        prompt: dict[str, Any] = {"prompt": request.prompt}
        if request.images:
            prompt["multi_modal_data"] = {"image": [open_image(im) for im in request.images]}
            prompt["multi_modal_uuids"] = {"image": [im.sha256 for im in request.images]}
        rendered = self._core.render(prompt)
        self._serial += 1
        added: list[str] = []
        try:
            for index, seed in enumerate(request.seeds):
                name = f"{self._serial}-{index}"
                self._core.add(name, rendered, self._params(sampling, seed))
                added.append(name)
        except Exception:
            self._core.abort(added)
            raise
        self._groups[self._serial] = _Group(request)
        self._unfinished += len(request.seeds)

    def step(self) -> list[GenerateResult]:
        """Runs the engine once; returns the groups that it completed."""
        done: list[GenerateResult] = []
        for output in self._core.step():
            serial, index = (int(part) for part in output.request_id.split("-")[:2])
            group = self._groups.get(serial)
            if group is None:  # it was aborted
                continue
            group.take(index, output, self._version)
            self._unfinished -= 1
            if group.is_complete:
                done.append(self._groups.pop(serial).result())
        return done

    def abort(self) -> None:
        """Ends all unfinished requests. Their results are lost."""
        if self._unfinished:
            names = [
                f"{serial}-{index}"
                for serial, group in self._groups.items()
                for index in range(len(group.request.seeds))
            ]
            self._core.abort(names)
            self._core.drain()
        self._groups.clear()
        self._unfinished = 0

    def load_weights(self, path: str) -> None:
        """Loads a file of weights into the model, and packs the tied head again. The caches are not
        reset.

        Raises: RolloutError if the file lacks weights that the checkpoint has.
        """
        self._require_all(weight_names(Path(path)), path)
        self._core.rpc("start_weight_update")
        self._core.rpc("update_weights", update_info={"path": path})
        self._core.rpc("finish_weight_update")
        self.repack_tied_head()

    def open_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Opens this engine's end of a channel to the learner, after closing an earlier one.
        `unverified`."""
        self._core.rpc("shutdown_weight_transfer_engine")
        self._core.rpc("init_weight_transfer_engine", init_info=dict(init_info))

    def start_update(self) -> None:
        """Prepares the model for new weights."""
        self._received.clear()
        self._core.rpc("start_weight_update")

    def receive(self, update_info: Mapping[str, Any]) -> None:
        """Receives one chunk of the weights that the learner sends. `unverified`."""
        self._received.update(update_info["names"])
        self._core.rpc("update_weights", update_info=dict(update_info))

    def finish_update(self) -> None:
        """Ends the update: the model computes with the received weights from now on.

        Raises: RolloutError if weights are missing.
        """
        self._require_all(frozenset(self._received), "what the learner sent")
        self._core.rpc("finish_weight_update")
        self.repack_tied_head()

    def _require_all(self, names: frozenset[str], where: str) -> None:
        missing = sorted(self._names - names - {"lm_head.weight"})
        if missing:
            raise RolloutError(
                f"{len(missing)} weights are missing, {missing[0]} first",
                where=where,
                expected="every name of the checkpoint that the engine started from",
                do="publish under the checkpoint file's own names",
            )

    def repack_tied_head(self) -> None:
        """Packs embeddings and output head again after a load."""
        self._core.rpc("repack_tied_head")

    def reset_caches(self) -> None:
        """Empties the three caches. Skipping one of them gives wrong log-probs without a message;
        the parity gate would find it."""
        self.reset_prefix_cache()
        self.reset_mm_cache()
        self.reset_encoder_cache()

    def reset_prefix_cache(self) -> None:
        """Empties the cache of prompts' keys and values. Raises: RolloutError if vLLM refuses."""
        if not self._core.reset_prefix_cache():
            raise RolloutError(
                "the prefix cache was not reset: requests are still under way",
                do="continue with --resume; if it happens again, report this",
            )

    def reset_mm_cache(self) -> None:
        """Empties the cache of processed images (pixels)."""
        self._core.reset_mm_cache()

    def reset_encoder_cache(self) -> None:
        """Empties the cache of the vision tower's outputs."""
        self._core.reset_encoder_cache()

    def set_version(self, version: int) -> None:
        """Sets the weight version that tokens sampled from now on are labelled with."""
        self._version = version
        self._core.set_weight_version(str(version))

    def remedy(self, name: str) -> None:
        """Repairs `prefix_cache`, `encoder_cache` or `tied_head`, each with the caches that depend
        on it."""
        if name == "tied_head":
            self.repack_tied_head()
        if name != "prefix_cache":
            self.reset_mm_cache()
            self.reset_encoder_cache()
        self.reset_prefix_cache()

    def is_dead(self, error: BaseException) -> bool:
        """Whether vLLM's core has ended."""
        from vllm.v1.engine.exceptions import EngineDeadError

        return isinstance(error, EngineDeadError)

    def _params(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            max_tokens=sampling.max_new_tokens,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=seed if sampling.temperature > 0 else None,
            logprobs=0 if sampling.logps else None,
            logit_bias=self._banned or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


class _Group:
    """The completions of one request, collected as they finish."""

    def __init__(self, request: GenerateRequest) -> None:
        self.request = request
        self._prompt_ids: tuple[int, ...] = ()
        self._completions: dict[int, Completion] = {}

    @property
    def is_complete(self) -> bool:
        return len(self._completions) == len(self.request.seeds)

    def take(self, index: int, output: Any, version: int) -> None:
        (found,) = output.outputs
        ids = tuple(int(token) for token in found.token_ids)
        self._prompt_ids = tuple(int(token) for token in output.prompt_token_ids)
        self._completions[index] = Completion(
            token_ids=ids,
            behavior_logps=tuple(
                float(entry[token].logprob)
                for token, entry in zip(ids, found.logprobs, strict=True)
            )
            if found.logprobs is not None
            else (),
            text=found.text,
            finish_reason=_finish_reason(found.finish_reason),
            weight_versions=_versions(found.weight_versions, len(ids), version),
        )

    def result(self) -> GenerateResult:
        completions = tuple(self._completions[i] for i in range(len(self.request.seeds)))
        return GenerateResult(self.request.ticket, self.request.uid, self._prompt_ids, completions)


def _finish_reason(reason: str | None) -> FinishReason:
    if reason == "stop":
        return "stop"
    return "length" if reason == "length" else "abort"


def _versions(spans: Sequence[Any] | None, num_tokens: int, version: int) -> tuple[int, ...]:
    if not spans:
        return (version,) * num_tokens
    versions = [version] * num_tokens
    for span in spans:
        label = int(span.version) if str(span.version).isdigit() else 0
        versions[span.start : span.end] = [label] * (span.end - span.start)
    return tuple(versions)


def _start(settings: Vllm, start: EngineStart) -> Core:
    import torch

    on_cpu, rollout = not torch.cuda.is_available(), start.rollout
    _set_environment(settings, rollout.threads, on_cpu)
    torch.set_num_threads(rollout.threads)

    from vllm.config import WeightTransferConfig

    from rollouts.engines.vllm.cores import InProcessCore, OwnProcessCore
    from rollouts.engines.vllm.transfer import backend

    options: dict[str, Any] = {
        "dtype": rollout.dtype,
        "seed": 0,
        "max_model_len": rollout.max_model_len,
        "max_num_seqs": rollout.max_num_seqs,
        "tensor_parallel_size": settings.tensor_parallel,
        "enforce_eager": settings.enforce_eager,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # The default, raw_logprobs, ignores the temperature and the banned ids.
        "logprobs_mode": "processed_logprobs",
        "weight_transfer_config": WeightTransferConfig(backend=backend(settings.transport)),
        "worker_extension_cls": "rollouts.engines.vllm.transfer.WorkerExtension",
    }
    if settings.tensor_parallel > 1:
        # Inside a Ray actor vLLM would choose Ray by default, and look for a placement group that
        # holds its ranks.
        options["distributed_executor_backend"] = "mp"
    if start.is_multimodal:
        options["limit_mm_per_prompt"] = {"image": rollout.max_images, "video": 0}
        if start.max_pixels is not None:
            limits = family_of(start.model_path).engine_kwargs(start.max_pixels)
            options["mm_processor_kwargs"] = limits or None
    if on_cpu:
        options["block_size"] = settings.block_size
        options["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * 2**30)
        # Prompts are computed whole. If a prompt is computed in parts, vLLM rewinds the random
        # generator of a seeded request, which its CPU runner cannot do ("CPU Generator does not use
        # offset").
        options["enable_chunked_prefill"] = False
        options["max_num_batched_tokens"] = max(8192, rollout.max_model_len)
    else:
        options["gpu_memory_utilization"] = settings.gpu_memory_utilization
    core = OwnProcessCore if settings.core == "own_process" else InProcessCore
    with errors_as(
        RolloutError,
        "vLLM did not start: {error}",
        where=start.model_path,
        do="try the model with `vllm serve`, or look at the actor's log",
    ):
        return core(start.model_path, options)


def _set_environment(settings: Vllm, threads: int, on_cpu: bool) -> None:
    """vLLM reads these when it is imported. None of them changes a result."""
    own_process = "1" if settings.core == "own_process" else "0"
    fixed = {"VLLM_ENABLE_V1_MULTIPROCESSING": own_process, "VLLM_NO_USAGE_STATS": "1"}
    if on_cpu:
        fixed["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        fixed["OMP_NUM_THREADS"] = str(threads)
    os.environ.update(fixed)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
