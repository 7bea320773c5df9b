"""A recipe as typed sections. The sections of components (algorithms, rewards, rollouts,
learner, benchmarks) are theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from evals.base import BenchmarkConfig
from evals.decisions.gate import GateConfig
from recipes.schema.hardware import HardwareSection, check_hardware
from recipes.schema.named import check_names
from rewards.base import RewardConfig
from rl.config import Component, ConfigFile, Problems, Section, build, config_of, dump, load_config
from rl.data.rows import Reading
from rl.data.sources import DataSource
from rl.errors import ConfigError
from rl.learners.base import LearnerConfig
from rl.models.spec import ModelConfig
from rl.plugins import did_you_mean
from rl.runtime.placement import RuntimeConfig
from rollouts.base import RolloutConfig
from rollouts.endpoint import EndpointConfig

BASE = "base"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_BEST = re.compile(r"best\(([^()]*)\)")


class RunSection(Section):
    """Where the run goes and what makes it repeatable."""

    name: str = Field("run", pattern=_NAME, description="Folder under `root`.")
    root: str = Field("runs", description="Folder of all runs.")
    seed: int = Field(0, ge=0, description="Seed of data order, sampling and evaluation.")
    tensorboard: bool = Field(True, description="Whether TensorBoard files are written too.")
    grace_s: float = Field(
        60.0, gt=0, description="Longest time from SIGTERM to the end; the step is saved in it."
    )


class DataSection(Section):
    """How rows are judged, for every stage."""

    on_bad_row: Literal["stop", "skip"] = "stop"
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="Share of rows that `skip` allows.")


class RewardWorkersSection(Section):
    """The actors that run reward functions."""

    workers: int = Field(1, ge=1)
    cpus: float | None = Field(None, ge=0)
    answer_deadline_s: float = Field(10.0, gt=0, description="Longest wait for one answer.")
    deadline_s: float = Field(600.0, gt=0, description="Longest wait for one batch of answers.")
    max_restarts: int = Field(3, ge=0, description="How many lost workers a run starts anew.")


class JudgeSection(Section):
    """Who reads answers where a benchmark's rule needs a judge: a local model (`path`) on a worker
    of its own beside the others, or an `endpoint`.
    """

    path: str | None = Field(None, description="A model folder; its weights' hash is recorded.")
    endpoint: EndpointConfig | None = Field(None, description="An OpenAI-compatible endpoint.")
    max_new_tokens: int = Field(256, ge=1, description="Longest judgement in tokens.")
    max_model_len: int | None = Field(None, ge=16, description="Overrides rollout.max_model_len.")

    @model_validator(mode="after")
    def _one_kind(self) -> JudgeSection:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError("give `path` (a local model) or `endpoint`, one of the two")
        return self


class EvalsSection(Section):
    """What is scored after every stage that yields weights, and what may go on."""

    benchmarks: tuple[BenchmarkConfig, ...] = ()
    gate: GateConfig = GateConfig()
    evaluate_base: bool = Field(True, description="Whether the untrained model is scored first.")
    endpoint: EndpointConfig | None = Field(
        None, description="Who answers instead of a local model; `model.path` is its name."
    )
    judge: JudgeSection | None = Field(None, description="For benchmarks whose rule needs one.")
    image_processes: int = Field(
        2, ge=0, description="Processes that decode and resize images ahead of the engines."
    )


class EarlyStopSection(Section):
    """When a stage that no longer improves on the select parts ends early."""

    patience: int = Field(ge=1, description="So many evaluations in a row without improvement.")
    min_delta: float = Field(
        0.0,
        ge=0,
        description="Smallest rise of `eval/select` that counts, as a share.",
    )


class SampleSection(Section):
    """A stage that draws the model's own answers and writes preference pairs and labelled
    answers."""

    n: int = Field(8, ge=2, description="Answers a prompt.")
    rewards: tuple[RewardConfig, ...] = Field(description="What makes one answer better.")
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int | None = Field(None, ge=1)
    heldout: int = Field(0, ge=0, description="Pairs kept out of training, to measure on.")
    label_threshold: float = Field(0.5, description="A score from here on is a desirable answer.")


class StageSection(Section):
    """One step of the line: a training stage (`algorithm`) or a `sample` stage.

    `prompts_per_step` rows (prompts for GRPO) make one optimizer step; give `steps` or `epochs`.
    """

    name: str = Field(pattern=_NAME)
    from_: str = Field(BASE, alias="from", description="A stage, `base`, or best(a, b).")
    algorithm: Annotated[Any, Component("rl.algorithms")] = None
    sample: SampleSection | None = None
    data: tuple[DataSource, ...] = Field(min_length=1)
    rewards: tuple[RewardConfig, ...] = ()
    heldout: str | None = Field(
        None, description="A sample stage whose held-out pairs to measure on."
    )
    prompts_per_step: int = Field(32, ge=1)
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    lr: float | None = Field(
        None, gt=0, description="Peak rate; the algorithm's default if absent."
    )
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_ratio: float = Field(0.05, ge=0, le=1)
    min_lr_ratio: float = Field(0.0, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="AdamW's decay rates of the first and second moment."
    )
    max_grad_norm: float = Field(1.0, gt=0)
    temperature: float | None = Field(None, gt=0, description="Overrides rollout.temperature.")
    max_new_tokens: int | None = Field(None, ge=1, description="Overrides rollout.max_new_tokens.")
    evaluate: bool = True
    save_every: int = Field(
        100,
        ge=1,
        description="Steps between checkpoints that a killed stage goes on from; a shorter stage "
        "begins anew.",
    )
    keep_last: int = Field(2, ge=1, description="How many of the newest checkpoints are kept.")
    eval_every: int | None = Field(
        None, ge=1, description="Steps between evaluations of the select parts inside the stage."
    )
    keep_best: bool = Field(
        False, description="The stage ends with the weights that `eval_every` liked best."
    )
    early_stop: EarlyStopSection | None = Field(
        None, description="Ends the stage when `eval_every` sees no improvement any more."
    )
    keep_rollouts_every: int = Field(10, ge=1, description="Steps between stored rollouts.")
    log_every: int = Field(1, ge=1, description="Steps between lines on the screen.")

    @model_validator(mode="after")
    def _one_kind(self) -> StageSection:
        if (self.algorithm is None) == (self.sample is None):
            raise ValueError("give `algorithm` (a training stage) or `sample`, one of the two")
        if self.algorithm is not None and self.steps is not None and self.epochs is not None:
            raise ValueError("give `steps` or `epochs`, not both")
        for key in ("keep_best", "early_stop"):
            if getattr(self, key) and self.eval_every is None:
                raise ValueError(f"`{key}` needs `eval_every`")
        if self.is_online and not self.rewards:
            raise ValueError("an online stage needs `rewards`")
        return self

    @model_validator(mode="after")
    def _algorithm_runs(self) -> StageSection:
        if self.algorithm is not None:
            from rl.algorithms.rehearsal import rehearse

            rehearse(self.algorithm)
        return self

    @property
    def is_online(self) -> bool:
        """Whether the stage samples while it trains."""
        return self.algorithm is not None and self.algorithm.needs.online

    @property
    def reading(self) -> Reading:
        """How rows are read: demonstration | preference | labelled | group."""
        tree: Reading = "group" if self.algorithm is None else self.algorithm.needs.reading
        return tree

    @property
    def all_rewards(self) -> tuple[RewardConfig, ...]:
        """The rewards of either kind of stage."""
        return self.rewards if self.sample is None else self.sample.rewards

    @property
    def peak_lr(self) -> float:
        """The stage's rate, or its algorithm's default."""
        return self.lr if self.lr is not None else float(self.algorithm.default_lr)

    @property
    def parents(self) -> tuple[str, ...]:
        """The stages named in `from`: one, or the candidates of best(...)."""
        match = _BEST.fullmatch(self.from_.strip())
        if match is None:
            return (self.from_.strip(),)
        return tuple(part.strip() for part in match.group(1).split(",") if part.strip())

    @property
    def chooses_best(self) -> bool:
        """Whether evaluation picks the parent."""
        return _BEST.fullmatch(self.from_.strip()) is not None


@dataclass(frozen=True)
class _Written:
    """The page that a recipe was built from: where its keys stand, and no part of what it says."""

    page: ConfigFile | None = field(default=None, compare=False)


class Recipe(Section):
    """A whole page."""

    _written: _Written = PrivateAttr(default=_Written())

    run: RunSection = RunSection()
    model: ModelConfig
    data: DataSection = DataSection()
    rollout: RolloutConfig = RolloutConfig()
    learner: LearnerConfig = LearnerConfig()
    reward_workers: RewardWorkersSection = RewardWorkersSection()
    evals: EvalsSection = EvalsSection()
    runtime: RuntimeConfig = RuntimeConfig()
    hardware: HardwareSection = HardwareSection()
    stages: tuple[StageSection, ...] = ()

    @model_validator(mode="after")
    def _endpoints_learn_nothing(self) -> Recipe:
        if self.evals.endpoint is not None and self.stages:
            raise ValueError("`evals.endpoint` is for an evaluation alone: leave out `stages`")
        if (
            self.evals.endpoint is not None
            and self.evals.judge is not None
            and self.evals.judge.path is not None
        ):
            raise ValueError("beside `evals.endpoint` the judge is an endpoint too")
        return self

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[StageSection, ...]) -> tuple[StageSection, ...]:
        names = [stage.name for stage in stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'two stages are called "{name}"')
            if name == BASE:
                raise ValueError('"base" is the untrained model; call the stage otherwise')
        return stages

    def where(self, key: str) -> str:
        """`file:line key` of the page that this was built from; the key alone without one."""
        page = self._written.page
        return key if page is None else page.where(key)

    def says(self, key: str) -> bool:
        """Whether the page has this key of its own."""
        page = self._written.page
        return page is not None and page.has(key)

    def stage(self, name: str) -> StageSection:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a page, builds every section and orders the stages. Raises: ConfigError listing
    every fault."""
    return _checked(load_config(path, overrides))


def recipe_of(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from values of a program or a command line; keys whose value is None are left
    out."""
    return _checked(config_of(_without_none(values), overrides))


def _checked(page: ConfigFile) -> Recipe:
    problems = Problems()
    recipe = build(Recipe, page, problems=problems)
    if recipe is None:
        check_names(page, problems)
        problems.raise_if_any()
    assert recipe is not None
    check_hardware(recipe.hardware, recipe.learner, recipe.rollout, recipe.runtime, page)
    recipe = recipe.model_copy(update={"stages": order_stages(recipe, page)})
    recipe._written = _Written(page)
    return recipe


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def resolved(recipe: Recipe) -> str:
    """The page with every default written out, as it is kept in the run."""
    return dump(recipe).replace("  from_:", "  from:")


def order_stages(recipe: Recipe, page: ConfigFile | None = None) -> tuple[StageSection, ...]:
    """The stages with every parent and data source before its child, else in the page's order.

    Raises: ConfigError with file:line for every stage that is not there or not of the kind that is
    wanted, and for a cycle.
    """
    known = {stage.name: stage for stage in recipe.stages}
    problems = Problems()
    for stage in recipe.stages:
        if not stage.parents:
            problems.add(_where(page, stage, "from"), "", f"{stage.from_} names no stage")
        for key, name in _named_by(stage):
            if fault := _fault_of(name, known, has_weights=key == "from"):
                problems.add(_where(page, stage, key), "", fault)
    problems.raise_if_any()
    done: list[StageSection] = []
    left = list(recipe.stages)
    while left:
        have = {BASE, *(stage.name for stage in done)}
        ready = next((stage for stage in left if all(need in have for need in needed(stage))), None)
        if ready is None:
            names = " -> ".join(stage.name for stage in left)
            raise ConfigError(
                f"a cycle in `from:` ({names})",
                where=_where(page, left[0], "from"),
                do="let one of them start from base",
            )
        done.append(ready)
        left.remove(ready)
    return tuple(done)


def needed(stage: StageSection) -> tuple[str, ...]:
    """Every stage that must be finished before this one: parents and sources of rows."""
    return tuple(name for _, name in _named_by(stage))


def _named_by(stage: StageSection) -> list[tuple[str, str]]:
    """(key, stage that it names), parents first."""
    found = [("from", parent) for parent in stage.parents]
    found += [
        (f"data.{number}.stage", source.stage)
        for number, source in enumerate(stage.data)
        if source.stage is not None
    ]
    return found + ([("heldout", stage.heldout)] if stage.heldout is not None else [])


def _fault_of(name: str, known: Mapping[str, StageSection], *, has_weights: bool) -> str:
    """Why the stage cannot be named there, or ""."""
    names = [BASE, *known] if has_weights else list(known)
    if name not in names:
        return f'unknown stage "{name}"{did_you_mean(name, names)} ({", ".join(names)})'
    if name != BASE and has_weights and known[name].algorithm is None:
        return f'"{name}" is a sample stage and has no weights to start from. Name a training stage'
    if not has_weights and known[name].sample is None:
        return f'"{name}" is a training stage and writes no rows. Name a sample stage'
    return ""


def _where(page: ConfigFile | None, stage: StageSection, key: str) -> str:
    key = f"stages.{stage.name}.{key}"
    return key if page is None else page.where(key)
