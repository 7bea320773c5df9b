"""What flows through Plumbline: samples, answers, rollouts, scores, and the Protocols that keep
the packages apart. No torch here."""

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
    """Where one image's encoded bytes are: a local `path`, or `data` themselves. Decoding is
    `rl.data.images.open_image`."""

    path: str | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        """The encoded bytes. Raises: OSError where the file is gone."""
        if self.data is not None:
            return self.data
        if self.path is None:
            raise ValueError("an ImageSource needs a path or data")
        return Path(self.path).read_bytes()

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the encoded bytes: the image's identity in caches and overlap checks."""
        return hashlib.sha256(self.read()).hexdigest()


@dataclass(frozen=True)
class Text:
    """A run of text inside a message."""

    text: str


@dataclass(frozen=True)
class Image:
    """A mark for one image inside a message; `index` points into `Sample.images`."""

    index: int


Part = Text | Image


@dataclass(frozen=True)
class Message:
    """One turn. `loss` overrides whether an assistant turn is trained (None: yes for assistant
    turns in SFT)."""

    role: Role
    parts: tuple[Part, ...]
    loss: bool | None = None

    @property
    def text(self) -> str:
        """The text parts joined; images leave no mark."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True)
class Sample:
    """One prompt with its images (for SFT the messages end with the assistant turn to learn).

    `uid` names the sample everywhere; a group is keyed by it. `references` are the accepted
    answers; `meta` keeps every
    other key of the row, for rewards. `has_text_prompt`: the row's prompt is a text, not turns.
    """

    uid: str
    messages: tuple[Message, ...]
    images: tuple[ImageSource, ...] = ()
    references: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    has_text_prompt: bool = False


@dataclass(frozen=True)
class Answer:
    """An assistant's answer. `token_ids` (end token included) where a model sampled it: they
    are then trained as they are."""

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
    """A prompt with one answer and whether it is desirable (KTO)."""

    sample: Sample
    answer: Answer
    label: bool


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy. `seed`, `step`, uid and index give
    each completion its own seed. `logps` False spares the log-probs where nobody reads them."""

    n: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 16
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    step: int = 0
    logps: bool = True


@dataclass(frozen=True)
class Progress:
    """How far a training stage was when it sampled: optimizer steps done and to be done, passes
    over the rows done."""

    steps_done: int
    num_steps: int
    epoch: float


@dataclass(frozen=True)
class Completion:
    """What the engine returned for one request. Log-probs are of the distribution sampled from
    (temperature and bans applied). `progress` stands where a training stage has it scored.

    Shapes: `token_ids`, `behavior_logps` and `weight_versions` have one entry a new token, the
    stop token included; no `behavior_logps` where they were not asked for.
    """

    token_ids: tuple[int, ...]
    behavior_logps: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    weight_versions: tuple[int, ...] = ()
    counted_tokens: int = 0  # where the engine shows no ids (an endpoint)
    progress: Progress | None = None

    @property
    def num_tokens(self) -> int:
        """New tokens, the stop token included."""
        return len(self.token_ids) or self.counted_tokens

    @property
    def is_truncated(self) -> bool:
        """Whether the length limit ended it."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Rollout:
    """A sample with its completions; `prompt_token_ids` are the engine's own, image
    placeholders expanded: the truth."""

    sample: Sample
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    counted_prompt_tokens: int = 0  # where the engine shows no ids (an endpoint)

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt, image placeholders expanded."""
        return len(self.prompt_token_ids) or self.counted_prompt_tokens


@dataclass(frozen=True)
class Score:
    """One verdict. `value` is None exactly when `status` is `unscored` or `error`: our failure
    is never the model's score."""

    value: float | None
    status: Status = "ok"
    reason: str = ""
    components: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) != (self.status in ("unscored", "error")):
            raise ValueError(f"status {self.status!r} with value {self.value!r}")


class Sampler(Protocol):
    """Draws completions: one rollout a sample, in the order given."""

    def sample(self, samples: Sequence[Sample], sampling: Sampling) -> list[Rollout]: ...


OnRefused = Callable[[Sample, str], None]


class StreamingSampler(Protocol):
    """Draws completions as one queue: a rollout a sample as soon as it is done, in any order.

    Samples are taken from `samples` a little ahead of the engines. One that cannot be answered is
    told to `on_error` with the reason and left out; without `on_error` it raises.
    """

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]: ...


class Scorer(Protocol):
    """Scores every completion of every rollout, in the order given."""

    def score(self, rollouts: Sequence[Rollout]) -> list[tuple[Score, ...]]: ...
