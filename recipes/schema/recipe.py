"""A recipe as typed sections. Components (algorithms, rewards, rollouts, learner, benchmarks)
define their own sections, in their own files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from evals.base import BenchmarkConfig
from evals.decisions.gate import GateConfig
from recipes.schema.foreign import advice_for_key
from recipes.schema.hardware import HardwareSection, check_hardware
from recipes.schema.kinds import AnyStage
from recipes.schema.named import check_names
from recipes.schema.order import order_stages
from recipes.schema.stage import BASE, NAME
from rl.config import ConfigFile, Problems, Section, build, config_of, dump, load_config
from rl.learners.base import LearnerConfig
from rl.models.spec import ModelConfig
from rl.runtime.placement import RuntimeConfig
from rollouts.base import RolloutConfig
from rollouts.endpoint import EndpointConfig


class RunSection(Section):
    """Where the run goes and what makes it repeatable."""

    name: str = Field("run", pattern=NAME, description="Folder under `root`.")
    root: str = Field("runs", description="Folder of all runs.")
    seed: int = Field(0, ge=0, description="Seed of data order, sampling and evaluation.")
    tensorboard: bool = Field(True, description="Whether TensorBoard files are written too.")
    grace_s: float = Field(
        60.0, gt=0, description="Longest time from SIGTERM to the end; the step is saved in it."
    )


class DataSection(Section):
    """What happens to bad rows, in every stage."""

    on_bad_row: Literal["stop", "skip"] = Field(
        "stop",
        description="`stop`: a bad row stops the run before an engine starts. `skip`: it is left "
        "out, counted and listed.",
    )
    max_bad_rows: float = Field(
        0.01, ge=0, le=1, description="Largest share of bad rows that `skip` allows."
    )


class RewardWorkersSection(Section):
    """The actors that run reward functions."""

    workers: int = Field(
        1, ge=1, description="Processes that score, each with a child that may be killed."
    )
    cpus: float | None = Field(
        None, ge=0, description="CPUs of a worker; by default an equal share of what is left."
    )
    answer_deadline_s: float = Field(10.0, gt=0, description="Longest wait for one answer.")
    deadline_s: float = Field(600.0, gt=0, description="Longest wait for one batch of answers.")
    max_restarts: int = Field(3, ge=0, description="How many lost workers a run replaces.")


class ParitySection(Section):
    """When engines are compared with a forward pass of the learner's kind (the parity gate)."""

    without_learner: bool = Field(
        True,
        description="Whether engines that no learner accompanies (evaluation, sampling) are "
        "compared once with a plain forward pass of the same weights.",
    )


class JudgeSection(Section):
    """The model that reads answers for benchmarks whose rule needs a judge: a local model (`path`)
    on a worker of its own, or an `endpoint`.
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
    """What is scored after every training stage, and what a stage may lose."""

    benchmarks: tuple[BenchmarkConfig, ...] = Field(
        (), description="The benchmarks that are asked after every training stage."
    )
    gate: GateConfig = Field(GateConfig(), description="How much of a score a stage may lose.")
    evaluate_base: bool = Field(True, description="Whether the untrained model is scored first.")
    endpoint: EndpointConfig | None = Field(
        None,
        description="An endpoint that answers instead of a local model; `model.path` is its name.",
    )
    judge: JudgeSection | None = Field(
        None, description="The judge of benchmarks whose rule needs one."
    )
    image_processes: int = Field(
        2, ge=0, description="Processes that decode and resize images ahead of the engines."
    )


@dataclass(frozen=True)
class _Written:
    """The file that a recipe was built from. It gives the places of keys, and has no part in
    comparing recipes.
    """

    config: ConfigFile | None = field(default=None, compare=False)


class Recipe(Section):
    """A whole recipe: its sections, and its stages in the order in which they run.

    recipe = load_recipe(Path("grpo.yaml"), ["stages.grpo.lr=5e-5"])
    recipe.stage("grpo").peak_lr       # 5e-05
    recipe.learner.ranks               # 1
    recipe.where("stages.grpo.lr")     # "override stages.grpo.lr=5e-5", for an error
    print(resolved(recipe))            # the recipe with every default written out
    """

    _written: _Written = PrivateAttr(default=_Written())

    run: RunSection = Field(RunSection(), description="The run's folder, name and seed.")
    model: ModelConfig = Field(description="The base model, and which of its parts are trained.")
    data: DataSection = Field(DataSection(), description="What happens to bad rows.")
    rollout: RolloutConfig = Field(
        RolloutConfig(), description="The rollout workers and their inference engine."
    )
    learner: LearnerConfig = Field(LearnerConfig(), description="The ranks that train.")
    reward_workers: RewardWorkersSection = Field(
        RewardWorkersSection(), description="The processes that run reward functions."
    )
    parity: ParitySection = Field(
        ParitySection(), description="When engines are compared with the model."
    )
    evals: EvalsSection = Field(
        EvalsSection(), description="Benchmarks after every stage, and what a stage may lose."
    )
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="Ray: where the actors run.")
    hardware: HardwareSection = Field(
        HardwareSection(), description="The machines that `plumbline plan` computes with."
    )
    stages: tuple[AnyStage, ...] = Field((), description="What is sampled and trained, in order.")

    @model_validator(mode="after")
    def _endpoints_learn_nothing(self) -> Recipe:
        if self.evals.endpoint is not None and self.stages:
            raise ValueError("`evals.endpoint` is for an evaluation alone: leave out `stages`")
        if (
            self.evals.endpoint is not None
            and self.evals.judge is not None
            and self.evals.judge.path is not None
        ):
            raise ValueError("with `evals.endpoint` the judge must be an endpoint too")
        return self

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[AnyStage, ...]) -> tuple[AnyStage, ...]:
        names = [stage.name for stage in stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'two stages are called "{name}"')
            if name == BASE:
                raise ValueError('"base" is the untrained model; call the stage otherwise')
        return stages

    @classmethod
    def advise_on(cls, key: str) -> str:
        """What to write instead of a key of ms-swift, TRL or verl."""
        return advice_for_key(key)

    def where(self, key: str) -> str:
        """`file:line key` in the file that this was built from; the key alone without a file."""
        config = self._written.config
        return key if config is None else config.where(key)

    def says(self, key: str) -> bool:
        """Whether the key is written in the file, or left to its default."""
        config = self._written.config
        return config is not None and config.has(key)

    def stage(self, name: str) -> AnyStage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file, builds every section and orders the stages. The config.yaml of a run is
    read as well, also one of an earlier version.

    Raises: ConfigError listing every fault with its file:line.
    """
    from recipes.schema.stored import as_written_now, is_stored

    config = load_config(path, overrides)
    return _checked(as_written_now(config) if is_stored(Path(path)) else config)


def recipe_of(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from the values of a program or a command line; keys whose value is None are left
    out. Raises: ConfigError as `load_recipe` does.
    """
    return _checked(config_of(_without_none(values), overrides))


def _checked(config: ConfigFile) -> Recipe:
    problems = Problems()
    recipe = build(Recipe, config, problems=problems)
    if recipe is None:
        check_names(config, problems)
        problems.raise_if_any()
    assert recipe is not None
    check_hardware(recipe.hardware, recipe.learner, recipe.rollout, recipe.runtime, config)
    recipe = recipe.model_copy(update={"stages": order_stages(recipe.stages, config)})
    recipe._written = _Written(config)
    return recipe


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def resolved(recipe: Recipe) -> str:
    """The recipe with every default that has an effect written out, as a run keeps it."""
    return dump(recipe)
