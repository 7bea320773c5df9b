"""A few answers that changed, in the page itself: they can be read without a script, and where the
data files beside the page are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from evals.report.answers.answer import Question

_GAINED, _LOST = 2, 1


@dataclass(frozen=True)
class Quote:
    """One question with the answers of two stages, each cut to a line. `kind`: became right, or no
    longer right.
    """

    kind: str
    id: str
    category: str
    question: str
    wanted: str
    before: str
    after: str


def quotes(questions: Sequence[Question], now: int, before: int) -> list[Quote]:
    """The first two that became right and the first that no longer is, in the browser's order."""
    gained: list[Quote] = []
    lost: list[Quote] = []
    for question in questions:
        old, new = question.answers[before], question.answers[now]
        if old is None or new is None or old.score is None or new.score is None:
            continue
        if old.score < 1 <= new.score and len(gained) < _GAINED:
            gained.append(_quote("became right", question, old.text, new.text))
        elif new.score < 1 <= old.score and len(lost) < _LOST:
            lost.append(_quote("no longer right", question, old.text, new.text))
        if len(gained) == _GAINED and len(lost) == _LOST:
            break
    return gained + lost


def _quote(kind: str, question: Question, before: str, after: str) -> Quote:
    return Quote(
        kind,
        question.id,
        _line(question.category, 60),
        _line(question.text, 160),
        _line(question.wanted, 80),
        _line(before, 120),
        _line(after, 120),
    )


def _line(text: str, most: int) -> str:
    """The text on one line of at most `most` characters; `(empty)` for an empty text."""
    flat = " ".join(text[: 4 * most].split())
    if not flat:
        return "(empty)"
    return flat if len(flat) <= most and len(text) <= 4 * most else f"{flat[:most]}…"


def as_lists(found: Sequence[Quote]) -> list[list[str]]:
    """The form in which they are kept between two reports."""
    return [list(astuple(one)) for one in found]


def from_lists(value: Sequence[Sequence[Any]] | None) -> list[Quote]:
    """The reverse of `as_lists`."""
    return [Quote(*map(str, one)) for one in value or []]
