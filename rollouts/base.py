"""The recipe's `rollout:` section, and the requests and results of a rollout worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rl import plugins
from rl.config import Component, Section
from rl.core import Completion, ImageSource, Sampling
from rl.errors import ConfigError

_WHOLE_DISTRIBUTION = (
    "training needs the log-probs of the whole distribution: a sampler that cuts its tail"
    " renormalises what is left, and the ratio to the learner is wrong from the first step"
)


class RolloutConfig(Section):
    """Workers that sample, one inference engine each. `temperature` is training's; evals are
    greedy.

        RolloutConfig(workers=2, max_new_tokens=256, max_model_len=2048)
        RolloutConfig(engine={"name": "vllm", "kv_cache_gib": 2})
    """

    engine: Annotated[Any, Component("rollouts.engines", default="vllm")] = Field(
        "vllm",
        validate_default=True,
        description="A name, or a mapping with `name` and the engine's own keys.",
    )
    workers: int = Field(1, ge=1, description="Workers, one engine each.")
    max_new_tokens: int = Field(128, ge=1, description="Longest sampled answer in tokens.")
    temperature: float = Field(
        1.0,
        ge=0.0,
        le=4.0,
        description="Of sampling in training; the learner's log-probs are of the same "
        "distribution.",
    )
    top_p: float = Field(
        1.0, description="Must stay 1: training needs the log-probs of the whole distribution."
    )
    top_k: int = Field(0, description="Must stay 0 (off), for the same reason.")
    max_model_len: int = Field(
        1024,
        ge=16,
        description="Longest prompt and answer together, in tokens; a longer row is an error.",
    )
    max_num_seqs: int = Field(256, ge=1, description="Answers that an engine works on at once.")
    max_images: int = Field(4, ge=0, description="Most images of one prompt.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the engine's weights; float32 has the tighter parity gate."
    )
    threads: int = Field(2, ge=1, description="CPU threads of one engine.")
    cpus: float = Field(
        0.5,
        ge=0,
        description="CPUs that Ray sets aside for a worker; fractions are fine, for learner and "
        "rollouts take turns.",
    )
    gpus: float = Field(0.0, ge=0, description="GPUs that Ray sets aside for a worker.")
    start_deadline_s: float = Field(
        300.0, gt=0, description="Longest wait for an engine to start, in seconds."
    )
    deadline_s: float = Field(600.0, gt=0, description="Longest wait for one batch of answers.")
    publish_deadline_s: float = Field(
        120.0, gt=0, description="Longest wait for a worker to take new weights."
    )
    max_restarts: int = Field(3, ge=0, description="How many lost workers a run replaces.")

    @field_validator("engine", mode="before")
    @classmethod
    def _is_no_core(cls, engine: Any) -> Any:
        # The key once said where vLLM's core runs.
        if engine in ("async", "in_process"):
            core = "own_process" if engine == "async" else engine
            raise ValueError(f"`{engine}` is no engine: write rollout.engine.core: {core}")
        return engine

    @classmethod
    def explain_unknown(cls, key: str) -> str:
        """An engine's own key belongs into the engine's section."""
        owners = [
            name
            for name in plugins.names("rollouts.engines")
            if key in plugins.find("rollouts.engines", name).model_fields
        ]
        if not owners:
            return ""
        engines = ("engine " if len(owners) == 1 else "engines ") + " and ".join(owners)
        return f"unknown key. It is a key of the {engines}: write rollout.engine.{key}"

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
    not token ids, because an engine's processor expands placeholders, and would expand those of
    the ids once more.
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
