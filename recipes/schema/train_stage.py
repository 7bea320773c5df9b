"""A training stage: an algorithm, its rows, and the optimizer's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from recipes.schema.stage import Stage, rows_of
from rewards.base import RewardConfig
from rl.config import NO_EFFECT, Component, Section
from rl.data.sources import DataSource
from rl.learners.updates import ONE_UPDATE, Updates

if TYPE_CHECKING:
    from rl.data.rows import Reading

_ONE_KIND = "give `algorithm` (a training stage) or `sample`, one of the two"
# What only an algorithm that samples while it trains reads -> the same key of a sample stage.
_ONLINE_KEYS = {
    "rewards": "sample.rewards",
    "temperature": "sample.temperature",
    "max_new_tokens": "sample.max_new_tokens",
    "keep_rollouts_every": "",
}


class EarlyStopSection(Section):
    """When a stage that no longer improves on the select parts ends early."""

    patience: int = Field(
        ge=1, description="How many evaluations in a row may bring no improvement."
    )
    min_delta: float = Field(
        0.0, ge=0, description="Smallest rise of `eval/select` that counts, as a share."
    )


class TrainStage(Stage):
    """A stage that trains: `prompts_per_step` rows (prompts, for an algorithm that samples) make
    one step, and `steps` or `epochs` says how many steps there are. A step makes one update of the
    weights; one that samples may make several (`updates`).

        name: grpo
        from: sft
        algorithm: {name: grpo, group_size: 8}
        data: [{path: data/rl.jsonl}]
        rewards: [exact]
        lr: 2.0e-4
        steps: 100
    """

    kind: ClassVar[str] = "train"
    called: ClassVar[str] = "a training stage"
    marker: ClassVar[str] = "algorithm"
    limits: ClassVar[str] = "writes no rows"
    has_weights: ClassVar[bool] = True
    rewards_key: ClassVar[str] = "rewards"

    algorithm: Annotated[Any, Component("rl.algorithms")] = Field(
        None,
        validate_default=True,
        description="A name, or a mapping with `name` and the algorithm's own keys.",
    )
    data: tuple[DataSource, ...] = Field(
        min_length=1,
        description="Where rows come from: files, or what a sample stage wrote (`{stage: pairs}`).",
    )
    rewards: tuple[RewardConfig, ...] = Field(
        (), description="What scores answers; only for an algorithm that samples, which needs one."
    )
    heldout: str | None = Field(
        None,
        description="A sample stage whose held-out pairs to measure on; only for an algorithm with "
        "an implicit reward.",
    )
    prompts_per_step: int = Field(32, ge=1, description="Rows (prompts for GRPO) of one step.")
    updates: Updates = Field(
        ONE_UPDATE,
        description="Updates of the weights in one step; only for an algorithm that samples.",
    )
    steps: int | None = Field(None, ge=1, description="Steps; instead of `epochs`.")
    epochs: float | None = Field(
        None, gt=0, description="Passes over the rows; 1 where neither is given."
    )
    lr: float | None = Field(
        None, gt=0, description="Peak learning rate; by default the algorithm's."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "cosine", description="How the rate falls after warm-up."
    )
    warmup_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of the updates in which the rate rises."
    )
    min_lr_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Rate at the last update over the peak rate; not for `constant`.",
    )
    weight_decay: float = Field(
        0.0, ge=0, description="AdamW's weight decay, of weight matrices only."
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="AdamW's decay rates of the first and second moment."
    )
    max_grad_norm: float = Field(
        1.0, gt=0, description="Gradients are clipped to this global norm."
    )
    temperature: float | None = Field(
        None,
        gt=0,
        description="Overrides rollout.temperature; only for an algorithm that samples.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Overrides rollout.max_new_tokens; only for an algorithm that samples.",
    )
    evaluate: bool = Field(True, description="Whether the stage is scored when it ends.")
    save_every: int = Field(
        100,
        ge=1,
        description="Steps between checkpoints from which a killed stage resumes; a shorter stage "
        "starts again from its first step.",
    )
    keep_last: int = Field(2, ge=1, description="How many of the newest checkpoints are kept.")
    eval_every: int | None = Field(
        None, ge=1, description="Steps between evaluations of the select parts inside the stage."
    )
    keep_best: bool = Field(
        False,
        description="Whether the stage ends with the checkpoint that has the best evaluation score "
        "of `eval_every`.",
    )
    early_stop: EarlyStopSection | None = Field(
        None, description="Ends the stage when `eval_every` no longer sees an improvement."
    )
    keep_rollouts_every: int = Field(
        10,
        ge=1,
        description="Steps between stored rollouts; only for an algorithm that samples.",
    )
    log_every: int = Field(1, ge=1, description="Steps between lines on the console.")

    @field_validator("algorithm", mode="before")
    @classmethod
    def _is_given(cls, algorithm: Any) -> Any:
        if algorithm is None:
            raise ValueError(_ONE_KIND)
        return algorithm

    @field_validator(*_ONLINE_KEYS, "updates", "heldout", "min_lr_ratio")
    @classmethod
    def _has_effect(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        if why := no_effect(info.field_name, info.data):
            raise PydanticCustomError(NO_EFFECT, "{why}", {"why": why})
        return value

    @field_validator("keep_best", "early_stop")
    @classmethod
    def _needs_evaluations(cls, value: Any, info: ValidationInfo) -> Any:
        if value and "eval_every" in info.data and info.data["eval_every"] is None:
            raise ValueError(f"`{info.field_name}` needs `eval_every`")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TrainStage:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give `steps` or `epochs`, not both")
        if self.is_online and not self.rewards:
            raise ValueError("an online stage needs `rewards`")
        if self.updates.minibatches > self.prompts_per_step:
            raise ValueError(
                f"`updates.minibatches` ({self.updates.minibatches}) is more than "
                f"`prompts_per_step` ({self.prompts_per_step}): all answers to a prompt are in one "
                "mini-batch"
            )
        return self

    @model_validator(mode="after")
    def _algorithm_runs(self) -> TrainStage:
        from rl.algorithms.rehearsal import rehearse

        rehearse(self.algorithm)
        return self

    @property
    def is_online(self) -> bool:
        """Whether the stage samples while it trains."""
        return bool(self.algorithm.needs.online)

    @property
    def reading(self) -> Reading:
        """How rows are read: demonstration | preference | labelled | group."""
        reading: Reading = self.algorithm.needs.reading
        return reading

    @property
    def reward_configs(self) -> tuple[RewardConfig, ...]:
        """The rewards that score answers."""
        return self.rewards

    @property
    def peak_lr(self) -> float:
        """The stage's rate, or its algorithm's default."""
        return self.lr if self.lr is not None else float(self.algorithm.default_lr)

    @property
    def answers_per_prompt(self) -> int:
        """How many answers are sampled for one prompt; 1 where rows hold their answers."""
        return int(self.algorithm.answers_per_prompt)

    def idle_keys(self) -> frozenset[str]:
        """The keys that have no effect beside this algorithm and schedule."""
        return frozenset(key for key in type(self).model_fields if no_effect(key, self.__dict__))

    def row_stages(self) -> dict[str, str]:
        """The sample stages whose rows this one trains and measures on."""
        found = rows_of(self.data)
        return found if self.heldout is None else {**found, "heldout": self.heldout}

    @classmethod
    def explain_unknown(cls, key: str) -> str:
        """Says that a stage trains or samples, not both."""
        return _ONE_KIND if key == "sample" else super().explain_unknown(key)


def no_effect(key: str, stage: Mapping[str, Any]) -> str:
    """Why a key of a training stage has no effect beside the stage's other keys, or "".

    >>> from rl.algorithms.sft import SFT
    >>> no_effect("temperature", {"algorithm": SFT()})
    'has no effect: sft samples no answers while it trains. Remove it, or move it to \
`sample.temperature` of a sample stage'
    """
    algorithm = stage.get("algorithm")
    if key == "min_lr_ratio" and stage.get("schedule") == "constant":
        return "has no effect beside `schedule: constant`. Remove it, or choose another schedule"
    if algorithm is None:  # has faults of its own, which are reported
        return ""
    needs, name = algorithm.needs, algorithm.name
    if key in _ONLINE_KEYS and not needs.online:
        why = f"has no effect: {name} samples no answers while it trains. Remove it"
        there = _ONLINE_KEYS[key]
        return f"{why}, or move it to `{there}` of a sample stage" if there else why
    if key == "updates" and not needs.online:
        return (
            f"has no effect: {name} samples no answers, and each of its steps makes one update. "
            "Remove it; lower `prompts_per_step` for more updates, raise `epochs` for more passes"
        )
    if key == "heldout" and (needs.online or algorithm.implicit_beta is None):
        return f"has no effect: {name} has no implicit reward to measure on pairs. Remove it"
    return ""
