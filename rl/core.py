"""The records that flow through Plumbline, from a row of data to a score.

    Sample      a prompt with its images                     (from a row: `rl/data/rows.py`)
    Rollout     a sample with the completions that an engine sampled for it
    Score       the verdict of the rewards, one for each completion

    Preference, Labelled: a sample with given answers, for algorithms that do not sample (DPO, KTO)

Records are immutable. A group of completions is found by its sample's `uid`, never by its text or
by its position. `Sampler` and `Scorer` are the Protocols through which training calls engines and
rewards, so that `rl` imports neither. This module imports no torch.

>>> question = Message("user", (Image(0), Text("Which animal?")))
>>> sample = Sample("q-1", (question,), (ImageSource(path="cat.jpg"),), references=("A cat",))
>>> answer = Completion((5, 7), (-0.1, -0.2), "A cat", "stop", weight_versions=(3, 3))
>>> rollout = Rollout(sample, prompt_token_ids=(1, 2, 3), completions=(answer,))
>>> rollout.completions[0].num_tokens, rollout.sample.messages[0].text
(2, 'Which animal?')
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
Status = Literal["ok", "truncated", "unparsed", "refused", "unscored", "error"]
FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True)
class ImageSource:
    """An image, not decoded: the `path` of a local file, or the encoded bytes as `data`.

    `rl.data.images.open_image` decodes it.
    """

    path: str | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        """The encoded bytes. Raises: OSError where the file cannot be read."""
        if self.data is not None:
            return self.data
        if self.path is None:
            raise ValueError("an ImageSource needs a path or data")
        return Path(self.path).read_bytes()

    @cached_property
    def sha256(self) -> str:
        """The hash of the encoded bytes: names the image in caches and in checks for overlap."""
        return hashlib.sha256(self.read()).hexdigest()


@dataclass(frozen=True)
class Text:
    """Text inside a message."""

    text: str


@dataclass(frozen=True)
class Image:
    """The place of an image inside a message; `index` is its number in `Sample.images`."""

    index: int


Part = Text | Image


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    `loss` says whether an assistant turn is trained in SFT; None means yes.
    """

    role: Role
    parts: tuple[Part, ...]
    loss: bool | None = None

    @property
    def text(self) -> str:
        """The text parts joined, without the images."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True)
class Sample:
    """One prompt with its images. For SFT the messages end with the assistant turn to learn."""

    uid: str  # names the sample, and the group of its completions, everywhere
    messages: tuple[Message, ...]
    images: tuple[ImageSource, ...] = ()
    references: tuple[str, ...] = ()  # accepted answers, for rewards
    meta: Mapping[str, Any] = field(default_factory=dict)  # the row's other columns, for rewards
    has_text_prompt: bool = False  # whether the row's prompt was a plain text and not turns


@dataclass(frozen=True)
class Answer:
    """An answer that the data gives.

    `token_ids` (end token included) are kept where a model sampled the answer. They are then
    trained as they are: encoding the text again could give other tokens.
    """

    text: str
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Preference:
    """A prompt with a better and a worse answer."""

    sample: Sample
    chosen: Answer
    rejected: Answer


@dataclass(frozen=True)
class Labelled:
    """A prompt with one answer, and in `label` whether that answer is desirable (KTO)."""

    sample: Sample
    answer: Answer
    label: bool


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    Each completion has its own seed, made of `seed`, `step`, the sample's uid and its number among
    the `n` completions. It does not depend on the order or on the worker that draws it.
    """

    n: int = 1  # completions for each sample
    temperature: float = 1.0  # 0: greedy
    max_new_tokens: int = 16
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    seed: int = 0
    step: int = 0
    logps: bool = True  # False saves the log-probs where nothing reads them (an evaluation)


@dataclass(frozen=True)
class Progress:
    """How far a training stage was when it sampled."""

    steps_done: int
    num_steps: int  # of the whole stage
    epoch: float  # passes over the rows


@dataclass(frozen=True)
class Completion:
    """One sampled answer, as the engine returned it.

    Shapes: `token_ids`, `behavior_logps` and `weight_versions` have T entries, one for each new
    token, the stop token included; `behavior_logps` is empty where log-probs were not asked for.
    """

    token_ids: tuple[int, ...]
    behavior_logps: tuple[float, ...]  # of the distribution sampled from: temperature, bans applied
    text: str
    finish_reason: FinishReason
    weight_versions: tuple[int, ...] = ()  # of the weights that sampled each token
    counted_tokens: int = 0  # their number, where the engine shows no ids (an endpoint)
    progress: Progress | None = None  # set where a training stage has it scored

    @property
    def num_tokens(self) -> int:
        """The number of new tokens, the stop token included."""
        return len(self.token_ids) or self.counted_tokens

    @property
    def is_truncated(self) -> bool:
        """Whether the length limit cut it off."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Rollout:
    """A sample with its completions.

    `prompt_token_ids` are those that the engine used, image placeholders expanded. Training takes
    them as they are and encodes nothing again.
    """

    sample: Sample
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    counted_prompt_tokens: int = 0  # their number, where the engine shows no ids (an endpoint)

    @property
    def num_prompt_tokens(self) -> int:
        """The number of tokens of the prompt, image placeholders expanded."""
        return len(self.prompt_token_ids) or self.counted_prompt_tokens


@dataclass(frozen=True)
class Score:
    """The verdict on one completion.

    `value` is None exactly where `status` is `unscored` (no reward applies) or `error` (a reward
    failed). Such scores are left out of every mean, so that a failure of ours never counts as the
    model's. `components` holds the value of each reward.

    >>> Score(0.0, "unparsed", "no number").value, Score(None, "error", "time-out").value
    (0.0, None)
    """

    value: float | None
    status: Status = "ok"
    reason: str = ""
    components: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) != (self.status in ("unscored", "error")):
            raise ValueError(f"status {self.status!r} with value {self.value!r}")


class Sampler(Protocol):
    """Draws completions: returns one rollout for each sample, in their order."""

    def sample(self, samples: Sequence[Sample], sampling: Sampling) -> list[Rollout]: ...


OnRefused = Callable[[Sample, str], None]


class StreamingSampler(Protocol):
    """Draws completions as a stream: yields each sample's rollout as soon as it is finished, in any
    order.

    Samples are taken from `samples` a little ahead of the engines. A sample that cannot be answered
    is left out and reported as `on_error(sample, reason)`; without `on_error` it raises.
    """

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]: ...


class Scorer(Protocol):
    """Scores completions: returns a tuple of scores for each rollout, in their order."""

    def score(self, rollouts: Sequence[Rollout]) -> list[tuple[Score, ...]]: ...
