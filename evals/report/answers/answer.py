"""One benchmark's questions with the answer of every stage, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one stage to one question, with its score. `content` is the score that it would
    have without the words around it (None: the same as the score); `said` are its words.
    """

    text: str
    score: float | None
    status: str
    parsed: str | None
    is_parsed: bool
    is_cut: bool
    is_refused: bool
    tokens: int | None
    error: str | None
    content: float | None = None
    said: str = ""

    @property
    def states(self) -> float:
        """The score in content; never below the score."""
        return max(self.content or 0.0, self.score or 0.0)

    @property
    def is_given(self) -> bool:
        """Whether it counts as an answer: readable, not cut off, and no refusal."""
        return self.is_parsed and not self.is_cut and not self.is_refused

    @property
    def flag(self) -> str:
        """One letter: e error; R, t, p refused, cut off, neither, and parsed; r, c, u unparsed."""
        if self.score is None:
            return "e"
        if self.is_refused:
            return "R" if self.is_parsed else "r"
        return ("t" if self.is_cut else "p") if self.is_parsed else ("c" if self.is_cut else "u")


@dataclass(slots=True)
class Question:
    """One question with each stage's answer; None where a stage was not asked. Where a benchmark
    has one category, `category` is the kind of question (`kinds`).
    """

    id: str
    category: str
    text: str
    references: list[str]
    images: list[str]
    answers: list[Answer | None]
    options: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # in which way training data holds it
    gold: str = ""  # the most frequent reference
    cluster: str = ""  # names the images

    @property
    def wanted(self) -> str:
        """The right answer: the one that most references give."""
        return self.gold or (self.references[0].partition(" ×")[0] if self.references else "")


def shared(
    questions: Sequence[Question], now: int, before: int
) -> list[tuple[Question, Answer, Answer]]:
    """The questions that both stages answered, with both answers (before, now); none that failed
    on our side.
    """
    return [
        (question, old, new)
        for question in questions
        if (old := question.answers[before]) is not None
        and (new := question.answers[now]) is not None
        and old.score is not None
        and new.score is not None
    ]
