"""Rewards: plain functions with typed arguments, and the rubric that adds them up.

A reward is a function whose arguments are filled in by name:

    @reward(name="exact")
    def exact(text: str, references: Sequence[str], ignore_case: bool = False) -> float: ...

- `text` and `references` are supplied: `SUPPLIED` lists what every reward may ask for. `solution`
  is the first reference.
- Any other name is looked for among the columns of the data (`sample.meta`).
- An argument that is neither is a parameter, which a recipe may set:
  `{name: exact, ignore_case: true, weight: 0.5}`.

A reward returns a number; or None, where it does not apply to the sample (status `unscored`); or a
`Score`, to say that an answer could not be read (`Score(0.0, "unparsed", "no number")`). A function
that asks for `completions` is called as TRL calls its reward functions (`rewards/interop.py`).
"""

from __future__ import annotations

import inspect
import math
import numbers
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from rewards.interop import from_trl, is_trl_style, trainer_state
from rl.config import Section
from rl.core import Completion, Rollout, Sample, Score, Status
from rl.errors import ConfigError, RewardError, errors_as
from rl.plugins import did_you_mean, find

RewardFunction = Callable[..., float | Score | None]
F = TypeVar("F", bound=RewardFunction)

# The arguments that every reward may ask for, whatever the data.
SUPPLIED: Mapping[str, Callable[[Sample, Completion], Any]] = {
    "text": lambda sample, completion: completion.text,
    "completion": lambda sample, completion: completion.text,
    "token_ids": lambda sample, completion: completion.token_ids,
    "finish_reason": lambda sample, completion: completion.finish_reason,
    "is_truncated": lambda sample, completion: completion.is_truncated,
    "sample": lambda sample, completion: sample,
    "uid": lambda sample, completion: sample.uid,
    "messages": lambda sample, completion: sample.messages,
    "images": lambda sample, completion: sample.images,
    "references": lambda sample, completion: sample.references,
    "prompt": lambda sample, completion: "\n".join(m.text for m in sample.messages),
    "meta": lambda sample, completion: sample.meta,
    "trainer_state": lambda sample, completion: trainer_state(completion),
}

_RETURN = "fix what the function returns"
_LACKING = "rename the argument, give it a default, or add the column to the rows"


def reward(name: str) -> Callable[[F], F]:
    """Gives a function the name under which recipes find it.

    >>> @reward(name="polite")
    ... def polite(text: str) -> float:
    ...     return float("please" in text.lower())
    >>> polite("Please wait."), polite.name
    (1.0, 'polite')
    """

    def mark(function: F) -> F:
        function.name = name  # type: ignore[attr-defined]
        return function

    return mark


class RewardConfig(Section):
    """One entry of a recipe's `rewards`: `exact`, or `{name: numeric, tolerance: 0.05, weight: 1}`.

    All keys other than `name` and `weight` are parameters of the function and are kept in `params`.

    >>> RewardConfig(name="numeric", tolerance=0.05).params
    {'tolerance': 0.05}
    """

    name: str = Field(description="A reward's name, or your own function as ./mine.py:function.")
    weight: float = Field(1.0, description="Its factor in the weighted sum.")
    params: dict[str, Any] = Field({}, description="The function's own parameters.")

    @model_validator(mode="before")
    @classmethod
    def _gather_params(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, Mapping):
            return value
        own = {key: item for key, item in value.items() if key not in cls.model_fields}
        kept = {key: item for key, item in value.items() if key in cls.model_fields}
        if own and isinstance(kept.get("params", {}), Mapping):
            kept["params"] = {**kept.get("params", {}), **own}
        return kept

    def __hash__(self) -> int:
        return hash((self.name, self.weight, repr(sorted(self.params.items()))))


@dataclass(frozen=True)
class Reward:
    """A reward function with its parameters set: `reward(sample, completion)` gives a Score."""

    label: str  # its name in a score's components and in metrics
    function: RewardFunction
    weight: float
    params: Mapping[str, Any]  # set by the recipe
    arguments: tuple[inspect.Parameter, ...]  # filled in for each completion

    def missing(self, sample: Sample) -> list[str]:
        """The arguments that `sample` cannot supply."""
        return [
            argument.name
            for argument in self.arguments
            if argument.default is argument.empty and not _has(argument.name, sample)
        ]

    def __call__(self, sample: Sample, completion: Completion) -> Score:
        """The score of one completion. Raises: RewardError, which names uid and reward, where the
        function raises or returns something that is no reward.
        """
        where = f"reward {self.label}, sample {sample.uid}"
        if missing := self.missing(sample):
            raise RewardError(
                f"the sample has no {missing[0]!r}",
                where=where,
                expected=_supply_line(sample),
                do=_LACKING,
            )
        with errors_as(
            RewardError,
            "raised {error}",
            where=where,
            expected="a number, None or a Score for any answer",
            do="fix the function, or the row that it cannot read",
            wraps_ours=True,
        ):
            value = self.function(**self._supply(sample, completion), **self.params)
        return _as_score(value, where)

    def _supply(self, sample: Sample, completion: Completion) -> dict[str, Any]:
        return {
            argument.name: _take(argument.name, sample, completion)
            for argument in self.arguments
            if _has(argument.name, sample)
        }


class Rubric:
    """Several rewards as one: their weighted sum, with each component kept.

        brief = RewardConfig(name="length", weight=0.1, max_tokens=64)
        rubric = Rubric([RewardConfig(name="exact"), brief])
        rubric.check(samples)                     # do the rows have what the rewards ask for?
        score = rubric.score(sample, completion)  # value: the sum; components: each reward's value

    A component that does not apply (None) is left out of the sum; where none applies, the score is
    `unscored`. The status is that of the first component that is not `ok`, else `truncated` where
    the completion was cut at the length limit. `base` is the folder to which `./mine.py:function`
    is relative (default: the current one).

    Raises: ConfigError for an unknown reward, or a parameter that is unknown, missing or of the
    wrong type.
    """

    def __init__(self, configs: Sequence[RewardConfig], base: Path | None = None) -> None:
        if not configs:
            raise ConfigError(
                "no rewards given",
                where="rewards",
                expected="at least one",
                do="name one, as `rewards: [exact]` (`plumbline list rewards`)",
            )
        self.configs, self.base = tuple(configs), base
        bound: list[Reward] = []
        for config in configs:
            bound.append(_bind(config, base, {earlier.label for earlier in bound}))
        self.rewards = tuple(bound)

    @property
    def labels(self) -> tuple[str, ...]:
        """The components' names, in the recipe's order."""
        return tuple(reward.label for reward in self.rewards)

    def check(self, samples: Sequence[Sample], share: float = 0.0) -> None:
        """Checks that the samples have what the rewards ask for. Raises: ConfigError where more
        than `share` of them lack an argument.
        """
        for reward in self.rewards:
            lacking = [(sample, gone) for sample in samples if (gone := reward.missing(sample))]
            if len(lacking) > share * len(samples):
                sample, missing = lacking[0]
                many = "any row" if len(lacking) == len(samples) else f"{len(lacking)} rows"
                near = did_you_mean(missing[0], sample.meta)
                raise ConfigError(
                    f"argument {missing[0]!r} of reward {reward.label!r} is not in the data: not "
                    f"in {many} of {len(samples)}{near}",
                    where=f"sample {sample.uid}",
                    expected=_supply_line(sample),
                    do=_LACKING,
                )

    def score(
        self,
        sample: Sample,
        completion: Completion,
        before: Callable[[str], None] = lambda label: None,
    ) -> Score:
        """The score of one completion. `before` is called with each reward's label just before the
        reward runs, so that one that hangs can be named.

        Raises: RewardError, which names the uid and the reward.
        """
        components: dict[str, float | None] = {}
        total, status, reason = 0.0, "ok", ""
        for reward in self.rewards:
            before(reward.label)
            part = reward(sample, completion)
            components[reward.label] = part.value
            if part.value is None:
                continue
            total += reward.weight * part.value
            if status == "ok" and part.status != "ok":
                status, reason = part.status, part.reason
        if all(value is None for value in components.values()):
            return Score(None, "unscored", "no reward applies", components)
        if status == "ok" and completion.is_truncated:
            status = "truncated"
        return Score(total, typing.cast(Status, status), reason, components)

    def score_rollout(self, rollout: Rollout) -> tuple[Score, ...]:
        """A score for every completion, in their order."""
        return tuple(self.score(rollout.sample, completion) for completion in rollout.completions)


def _bind(config: RewardConfig, base: Path | None, taken: set[str]) -> Reward:
    """The reward that the config names. A label that is in `taken` gets a number: `exact_2`."""
    function = find("rewards", config.name, base=base)
    if not callable(function):
        raise ConfigError(
            f"reward {config.name!r} is not a function",
            expected="a function, or an object that can be called",
            do="name the function: ./mine.py:function",
        )
    own = str(getattr(function, "name", config.name.rsplit(":", 1)[-1]))
    if is_trl_style(function):
        function = from_trl(function)
    signature = inspect.signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.POSITIONAL_ONLY in kinds:
        raise ConfigError(
            "its arguments cannot all be given by name",
            where=f"reward {config.name!r}",
            expected="no *args and no `/`",
            do="write it as def f(text, references, ...)",
        )
    free = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    params = _checked_params(config, function, free)
    arguments = tuple(parameter for name, parameter in free.items() if name not in params)
    label, copy = own, 1
    while label in taken:
        copy += 1
        label = f"{own}_{copy}"
    return Reward(label, function, config.weight, params, arguments)


def _checked_params(
    config: RewardConfig, function: Callable[..., Any], free: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """The recipe's parameters, checked against the function's annotations. Raises: ConfigError."""
    settable = [name for name in free if name not in SUPPLIED and name != "solution"]
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # an annotation names what is imported for type checkers only
        hints = {}
    params: dict[str, Any] = {}
    for name, value in config.params.items():
        where = f"reward {config.name!r}"
        if name not in settable:
            fault = ConfigError(
                f"unknown parameter {name!r}{did_you_mean(name, ['weight', *settable])}",
                where=where,
                expected=", ".join(["weight", *settable]),
                do="rename it, or take it out",
            )
            fault.key = name
            raise fault
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints.get(name, Any))
            params[name] = adapter.validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            fault = ConfigError(
                f"parameter {name} = {value!r}",
                where=where,
                expected=message.removeprefix("Input should be "),
                do="fix the value",
            )
            fault.key = name
            raise fault from None
    return params


def _has(name: str, sample: Sample) -> bool:
    """Whether the sample can supply the argument."""
    if name == "solution":
        return bool(sample.references) or "solution" in sample.meta
    return name in SUPPLIED or name in sample.meta


def _take(name: str, sample: Sample, completion: Completion) -> Any:
    if name == "solution":
        return sample.references[0] if sample.references else sample.meta["solution"]
    supply = SUPPLIED.get(name)
    return supply(sample, completion) if supply else sample.meta[name]


def _supply_line(sample: Sample) -> str:
    names = [*SUPPLIED, *(["solution"] if _has("solution", sample) else []), *sample.meta]
    return "one of " + ", ".join(dict.fromkeys(names))


def _as_score(value: Any, where: str) -> Score:
    """What a function returned as a Score. Raises: RewardError for anything that is no reward."""
    expected = "a finite number, None (does not apply) or a Score"
    if value is None:
        return Score(None, "unscored", "does not apply")
    if isinstance(value, Score):
        if value.status == "error":
            raise RewardError(
                value.reason or "returned an error", where=where, do="fix what the function names"
            )
        number = value.value
        if number is not None and not _is_finite(number):
            raise RewardError(
                f"returned Score({number!r})", where=where, expected=expected, do=_RETURN
            )
        return value
    if not _is_finite(value):
        raise RewardError(
            f"returned {type(value).__name__} {value!r}"[:200],
            where=where,
            expected=expected,
            do=_RETURN,
        )
    return Score(float(value))


def _is_finite(value: Any) -> bool:
    # A bool is a number for Python, but a function that returns one forgot to say how much it is.
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
