"""Runs TRL's reward functions unchanged: `def reward(prompts, completions, **kwargs) -> list`.

TRL calls them with lists that have one entry for each completion. A rubric scores one completion at
a time, so every list here has one entry. A function that compares the completions of a batch with
one another does not work here.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.core import Completion, Image, Sample

_MARKS = ("completions", "completion_ids")
_GIVEN = frozenset(
    {"prompts", *_MARKS, "image", "images", "answer", "trainer_state", "log_extra", "log_metric"}
)
_OURS = ("sample", "text", "token_ids", "trainer_state")
_WORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class TrainerState:
    """How far the training stage is: the fields of transformers' TrainerState that have a value
    before the step's update. All are 0 where nothing trains (a sample stage, a check).
    """

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0
    num_train_epochs: int = 0
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True


def trainer_state(completion: Completion) -> TrainerState:
    """The state of the training step for which the completion is scored."""
    progress = completion.progress
    if progress is None:
        return TrainerState()
    done, steps = progress.steps_done, progress.num_steps
    epochs = math.ceil(progress.epoch / done * steps) if done else 1
    return TrainerState(done, steps, progress.epoch, epochs)


def is_trl_style(function: Callable[..., Any]) -> bool:
    """Whether the function asks for `completions` or `completion_ids`, as TRL's functions do.

    >>> is_trl_style(lambda completions, **kwargs: [0.0]), is_trl_style(lambda text: 0.0)
    (True, False)
    """
    return any(name in _MARKS for name in inspect.signature(function).parameters)


def from_trl(function: Callable[..., Any]) -> Callable[..., float | None]:
    """The function as one of ours: a number for one completion, None where it does not apply.

    The row's columns are keyword lists; a coroutine is awaited; `log_extra` and `log_metric` do
    nothing. Parameters that are no column may be set by the recipe.

    Source: trl 1.16.0, trl/trainer/grpo_trainer.py (GRPOTrainer._calculate_rewards). Departs:
    `trainer_state` has the fields of `TrainerState` here; one completion a call.
    """
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def score(
        sample: Sample,
        text: str,
        token_ids: Sequence[int],
        trainer_state: TrainerState,
        **named: Any,
    ) -> float | None:
        given = {**named, **arguments(sample, text, token_ids, trainer_state)}
        known = given if takes_all else {k: v for k, v in given.items() if k in parameters}
        answer = function(**known)
        return only_reward(asyncio.run(answer) if inspect.iscoroutine(answer) else answer)

    ours = [inspect.Parameter(name, _WORD) for name in _OURS]
    columns = [
        parameter.replace(kind=_WORD, annotation=inspect.Parameter.empty)
        for name, parameter in parameters.items()
        if name not in _GIVEN and parameter.kind is not parameter.VAR_KEYWORD
    ]
    score.__signature__ = inspect.Signature([*ours, *columns])  # type: ignore[attr-defined]
    return score


def arguments(
    sample: Sample, text: str, token_ids: Sequence[int], state: TrainerState
) -> dict[str, Any]:
    """The keyword arguments with which TRL calls a reward function, for one completion.

    Prompt and completion are plain text where the row's prompt is plain text without images;
    otherwise both are lists of messages, as in TRL.
    """
    from rl.data.images import open_image

    images = [open_image(image) for image in sample.images]
    if sample.has_text_prompt and not images:
        prompt: Any = sample.messages[0].text
        completion: Any = text
    else:
        prompt = _messages(sample, images)
        completion = [{"role": "assistant", "content": text}]
    columns: dict[str, Any] = dict(sample.meta)
    if sample.references:
        columns = {"solution": sample.references[0], "answer": sample.references[0], **columns}
    if images:
        columns |= {"images": images}
    return {
        **{name: [value] for name, value in columns.items()},
        "prompts": [prompt],
        "completions": [completion],
        "completion_ids": [list(token_ids)],
        "trainer_state": state,
        "log_extra": _ignore,
        "log_metric": _ignore,
    }


def only_reward(answer: Any) -> float | None:
    """The reward in the list that the function returned. None and NaN both mean that it does not
    apply, as in TRL. Raises: ValueError where the list has not exactly one entry.

    >>> only_reward([1]), only_reward([float("nan")])
    (1.0, None)
    """
    rewards = list(answer)
    if len(rewards) != 1:
        raise ValueError(f"returned {len(rewards)} rewards for 1 completion")
    if rewards[0] is None or math.isnan(value := float(rewards[0])):
        return None
    return value


def _messages(sample: Sample, images: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The prompt as TRL writes it: blocks where the sample has images, else plain content."""
    turns: list[Mapping[str, Any]] = []
    for message in sample.messages:
        content: Any = message.text
        if images:
            content = [
                {"type": "image", "image": images[part.index]}
                if isinstance(part, Image)
                else {"type": "text", "text": part.text}
                for part in message.parts
            ]
        turns.append({"role": message.role, "content": content})
    return turns


def _ignore(*_: Any, **__: Any) -> None:
    """Takes the calls of `log_extra` and `log_metric`, which do nothing here."""
