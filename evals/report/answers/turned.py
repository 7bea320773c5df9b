"""How scores of answers changed between two stages: to right, from right, or in part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from evals.report.answers.answer import Question
from evals.report.display.figures import count


@dataclass(frozen=True)
class Turned:
    """Numbers of questions by the change of their score. A score that rose without reaching 1 rose
    in part; one that fell and was less than 1 before fell in part.
    """

    became: int = 0
    rose: int = 0
    ceased: int = 0
    fell: int = 0

    @property
    def won(self) -> int:
        return self.became + self.rose

    @property
    def lost(self) -> int:
        return self.ceased + self.fell

    @property
    def is_graded(self) -> bool:
        return bool(self.rose or self.fell)

    def __add__(self, other: Turned) -> Turned:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Turned(*(mine + theirs for mine, theirs in pairs))

    @property
    def in_words(self) -> str:
        """The numbers in words; changes in part are left out where there are none.

        >>> Turned(became=26, ceased=9).in_words
        '26 became right, 9 no longer right'
        """
        named = (
            (self.became, "became right", True),
            (self.rose, "rose in part", False),
            (self.ceased, "no longer right", True),
            (self.fell, "fell in part", False),
        )
        return ", ".join(f"{count(n)} {words}" for n, words, always in named if n or always)


def turned(questions: Sequence[Question], now: int, before: int) -> dict[str, Turned]:
    """By category, how the questions that both stages answered changed."""
    found: dict[str, list[int]] = {}  # in the order of Turned's fields
    for question in questions:
        old, new = question.answers[before], question.answers[now]
        if old is None or new is None or old.score is None or new.score is None:
            continue
        was, now_is = old.score, new.score
        counts = found.setdefault(question.category, [0, 0, 0, 0])
        if was < now_is:
            counts[0 if now_is >= 1 else 1] += 1
        elif now_is < was:
            counts[2 if was >= 1 else 3] += 1
    return {category: Turned(*counts) for category, counts in found.items()}


def as_lists(found: Mapping[str, Turned]) -> dict[str, list[int]]:
    """The form in which it is kept between two reports."""
    return {category: list(astuple(one)) for category, one in found.items()}


def from_lists(value: Mapping[str, Iterable[Any]] | None) -> dict[str, Turned]:
    """The reverse of `as_lists`."""
    return {category: Turned(*map(int, one)) for category, one in (value or {}).items()}


def all_of(found: Mapping[str, Turned]) -> Turned:
    """The sum over categories."""
    return sum(found.values(), Turned())
