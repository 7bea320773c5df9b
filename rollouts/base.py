"""The recipe's `rollout:` section, and the requests and results of a rollout worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rl.core import Completion, ImageSource, Sampling
from rl.errors import ConfigError

_WHOLE_DISTRIBUTION = (
    "training needs the log-probs of the whole distribution: a sampler that cuts its tail"
    " renormalises what is left, and the ratio to the learner is wrong from the first step"
)


class RolloutConfig(BaseModel):
    """Workers that sample, one vLLM engine each. `temperature` is training's; evals are greedy.

        RolloutConfig(workers=2, max_new_tokens=256, max_model_len=2048, kv_cache_gib=2)

    `engine` is where vLLM's core runs: in the worker's process, or (`async`, vLLM's AsyncLLM) in
    a process of its own, which computes while the worker prepares prompts.
    `block_size` is the prefix cache's unit in tokens. vLLM's default on CPU is 128, longer than
    many prompts, which their group could then never share. CPU attention needs multiples of 32.
    `max_images` bounds the images of one prompt; `max_restarts` bounds how many lost workers a run
    restarts; `cpus` and `gpus` are what Ray reserves for a worker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(1, ge=1)
    engine: Literal["in_process", "async"] = "in_process"
    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(1.0, ge=0.0, le=4.0)
    top_p: float = 1.0
    top_k: int = 0
    max_model_len: int = Field(1024, ge=16)
    max_num_seqs: int = Field(256, ge=1)
    max_images: int = Field(4, ge=0)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    block_size: int = Field(32, ge=16, multiple_of=16)
    kv_cache_gib: float = Field(1.0, gt=0)
    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    tensor_parallel: int = Field(1, ge=1)
    enforce_eager: bool = True
    threads: int = Field(2, ge=1)
    cpus: float = Field(0.5, ge=0)
    gpus: float = Field(0.0, ge=0)
    start_deadline_s: float = Field(300.0, gt=0)
    deadline_s: float = Field(600.0, gt=0)
    publish_deadline_s: float = Field(120.0, gt=0)
    max_restarts: int = Field(3, ge=0)
    transport: Literal["file", "ipc", "nccl"] = Field(
        "file",
        description="How published weights reach an engine. file: through shared memory or a "
        "shared folder. ipc: on GPUs that learner and engines share (`unverified`). nccl: to GPUs "
        "of their own (`unverified`).",
    )
    rendezvous: str | None = Field(
        None,
        description="nccl: host:port of learner rank 0 as the rollout workers reach it; by "
        "default its machine's address in the cluster and a free port.",
    )

    @field_validator("rendezvous")
    @classmethod
    def _host_and_port(cls, rendezvous: str | None) -> str | None:
        if rendezvous is not None:
            host, _, port = rendezvous.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f'"{rendezvous}" is not host:port')
        return rendezvous

    @model_validator(mode="after")
    def _only_nccl_meets(self) -> RolloutConfig:
        if self.rendezvous is not None and self.transport != "nccl":
            raise ValueError(f"rendezvous has no meaning for transport: {self.transport}")
        return self

    @field_validator("top_p")
    @classmethod
    def _whole(cls, top_p: float) -> float:
        if top_p != 1.0:
            raise ValueError(f"must be 1: {_WHOLE_DISTRIBUTION}")
        return top_p

    @field_validator("top_k")
    @classmethod
    def _unlimited(cls, top_k: int) -> int:
        if top_k != 0:
            raise ValueError(f"must be 0 (off): {_WHOLE_DISTRIBUTION}")
        return top_k


@dataclass(frozen=True)
class GenerateRequest:
    """One prompt for an engine, with a seed for each completion. `ticket` is the caller's number
    for the request.

    `prompt` is text with one placeholder for each image and the template's special tokens. It is
    not token ids, because vLLM would expand placeholders that are expanded already once more.
    """

    ticket: int
    uid: str
    prompt: str
    images: tuple[ImageSource, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class GenerateResult:
    """The group of one request as the engine returned it, or the `error` for which this request
    was rejected."""

    ticket: int
    uid: str
    prompt_token_ids: tuple[int, ...] = ()
    completions: tuple[Completion, ...] = ()
    error: str | None = None


def completion_seed(seed: int, step: int, uid: str, index: int) -> int:
    """The seed of one completion, from the run's seed, the step, the sample and the completion's
    index in its group.

    It does not depend on how many engines there are, which one samples, or what else it samples.

    >>> completion_seed(0, 1, "a", 0) == completion_seed(0, 1, "a", 1)
    False
    """
    # 62 bits fit into the signed 64-bit seed of any engine.
    key = f"{seed}/{step}/{index}/{uid}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 2


def require_whole_distribution(sampling: Sampling) -> None:
    """Raises: ConfigError if training cannot use such samples, with the reason."""
    for name, value, off in (("top_p", sampling.top_p, 1.0), ("top_k", sampling.top_k, 0)):
        if value != off:
            raise ConfigError(
                f"{name} = {value} in training",
                where="sampling",
                expected=f"{name} = {off:g}",
                do=_WHOLE_DISTRIBUTION,
            )
    if sampling.temperature <= 0:
        raise ConfigError(
            f"temperature = {sampling.temperature} in training",
            where="sampling",
            expected="a temperature above 0",
            do="greedy answers of a group are all the same and teach nothing",
        )
