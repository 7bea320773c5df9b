"""How one stage answers, right or wrong: its frequent answers, and those that it never gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.report.answers.answer import Answer, Question
from evals.report.answers.wording import choice, holds, words
from evals.report.display.figures import PERCENT, number
from rewards.letters import LETTERS

_LETTERS = frozenset(LETTERS[:10])
_SPOKEN = 0.03  # a smaller move of a share, or a rarer reference, is not reported
_COMMON, _FEWEST = 50, 5


@dataclass(frozen=True)
class Habits:
    """Shares of one stage's answers. `common` are the (at most 50) answers given most, each with
    its share, of `distinct` different ones; `never` those that references want on at least 3 % of
    the questions and no answer gives: (answer, category or "" for all, share of the questions).
    """

    answers: int
    parsed: float
    refused: float
    cut: float
    mean_tokens: float | None
    mean_characters: float
    accuracy: float
    content: float
    read_accuracy: float | None
    yes: float | None
    yes_wanted: float | None
    letter: str | None
    letter_excess: float | None
    distinct: int = 0
    common: list[tuple[str, float]] = field(default_factory=list)
    never: list[tuple[str, str, float]] = field(default_factory=list)


def habits(questions: Sequence[Question], column: int) -> Habits | None:
    """The habits of the stage in this column; None where it was not asked."""
    pairs = [
        (question, answer)
        for question in questions
        if (answer := question.answers[column]) is not None and answer.score is not None
    ]
    if not pairs:
        return None
    answers = [answer for _, answer in pairs]
    n = len(answers)
    read = [answer.score or 0.0 for answer in answers if answer.is_parsed]
    tokens = [answer.tokens for answer in answers if answer.tokens is not None]
    said = Counter(choice(answer.parsed) for answer in answers if answer.is_parsed)
    wanted = Counter(choice(question.wanted) for question, _ in pairs)
    yes, yes_wanted = _yes(said), _yes(wanted)
    letter, excess = _lean(said, wanted)
    given = Counter(_said(answer) for answer in answers if answer.is_parsed)
    return Habits(
        answers=n,
        parsed=sum(answer.is_parsed for answer in answers) / n,
        refused=sum(answer.is_refused for answer in answers) / n,
        cut=sum(answer.is_cut for answer in answers) / n,
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        mean_characters=sum(len(answer.text) for answer in answers) / n,
        accuracy=sum(answer.score or 0.0 for answer in answers) / n,
        content=sum(answer.states for answer in answers) / n,
        read_accuracy=sum(read) / len(read) if read else None,
        yes=yes if yes_wanted is not None else None,
        yes_wanted=yes_wanted,
        letter=letter,
        letter_excess=excess,
        distinct=len(given),
        common=[(said, times / n) for said, times in given.most_common(_COMMON)],
        never=_never(pairs),
    )


def _never(pairs: Sequence[tuple[Question, Answer]]) -> list[tuple[str, str, float]]:
    """Right answers that the stage never gives: on all questions, then within single categories."""
    found = [(answer, "", share) for answer, share in _missing(pairs, len(pairs))]
    everywhere = {answer for answer, _, _ in found}
    by_category: dict[str, list[tuple[Question, Answer]]] = {}
    for question, answer in pairs:
        by_category.setdefault(question.category, []).append((question, answer))
    for category, mine in by_category.items() if len(by_category) > 1 else ():
        found += [
            (answer, category, share)
            for answer, share in _missing(mine, len(pairs))
            if answer not in everywhere
        ]
    return sorted(found, key=lambda item: (-item[2], item))


def _missing(pairs: Sequence[tuple[Question, Answer]], n: int) -> list[tuple[str, float]]:
    """(answer, its share of `n`) of the right answers that are not given on these questions."""
    wanted = Counter(words(question.wanted) for question, _ in pairs)
    enough = max(_FEWEST, _SPOKEN * n)
    sought = {answer: times for answer, times in wanted.items() if answer and times >= enough}
    for said in {_said(answer) for _, answer in pairs if answer.is_parsed} if sought else ():
        sought = {answer: times for answer, times in sought.items() if not holds(said, answer)}
    return [(answer, times / n) for answer, times in sought.items()]


def in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What changed in how a stage answers, right or wrong; empty where no share moved by 3 % or
    more. Both arguments are `Habits` as dictionaries.
    """
    parts = []
    if after.get("yes_wanted") is not None and (moved := _moved(before, after, "yes")):
        parts.append(f"yes {moved} (wanted {PERCENT.value(after['yes_wanted'])})")
    excess = after.get("letter_excess") or 0.0
    if excess >= 2 * _SPOKEN:
        points = number(100 * excess, 1, sign=True)
        parts.append(f"leans to {after['letter']}, {points} points beyond its share")
    if moved := _moved(before, after, "refused"):
        parts.append(f"refusals {moved}")
    old, new = before.get("mean_tokens"), after.get("mean_tokens")
    if old and new and not 0.8 <= new / old <= 1.25:
        parts.append(f"length {number(old, 1)} → {number(new, 1)} tokens")
    ceased = _ceased(before, after)
    missed = [never_in_words(ceased)] if ceased else []
    if missed := missed + _gone(before, after, {answer for answer, _, _ in ceased}):
        parts.append(f"it no longer answers {', '.join(missed)}")
    return ", ".join(parts)


def _ceased(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Answers that were given before and are never given now."""
    lacked = {(answer, category) for answer, category, _ in before.get("never") or ()}
    return [
        (answer, category, share)
        for answer, category, share in after.get("never") or ()
        if (answer, category) not in lacked and (answer, "") not in lacked
    ]


def _gone(before: Mapping[str, Any], after: Mapping[str, Any], listed: set[str]) -> list[str]:
    """Answers that were at least 3 % before and are not among those of now, in any words. Only
    known where every different answer of now is listed.
    """
    given = [answer for answer, _ in after.get("common") or ()]
    if not given or after.get("distinct", 0) > len(given):
        return []
    return [
        f"{answer} ({PERCENT.value(share)} of the answers before)"
        for answer, share in before.get("common") or ()
        if answer and share >= _SPOKEN and not any(holds(answer, one) for one in listed)
        if not any(holds(answer, said) or holds(said, answer) for said in given)
    ]


def never_in_words(never: Iterable[tuple[str, str, float]], most: int = 4) -> str:
    """`square (wanted on 7.7 %), 3 to “how many …” (5.2 %)`."""
    found = list(never)
    parts = [
        f"{answer}{f' to {category}' if category else ''} "
        f"({'' if at else 'wanted on '}{PERCENT.value(share)})"
        for at, (answer, category, share) in enumerate(found[:most])
    ]
    return ", ".join(parts) + (f" and {len(found) - most} more" if len(found) > most else "")


def _moved(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> str:
    """A share before and now; empty where it moved by less than 3 %."""
    old, new = before.get(key), after.get(key)
    if old is None or new is None or abs(new - old) < _SPOKEN:
        return ""
    return f"{PERCENT.value(old)} → {PERCENT.value(new)}"


def _said(answer: Answer) -> str:
    return answer.said or words(answer.text)


def _yes(found: Counter[str]) -> float | None:
    """The share of yes among yes and no; None where these are less than 90 % of the answers."""
    both = found["yes"] + found["no"]
    return found["yes"] / both if both and both >= 0.9 * found.total() else None


def _lean(said: Counter[str], wanted: Counter[str]) -> tuple[str | None, float | None]:
    """The letter that is given most beyond its share of the references, and by how much."""
    given = sum(said[letter] for letter in _LETTERS)
    asked = sum(wanted[letter] for letter in _LETTERS)
    if not given or asked < 0.5 * wanted.total():
        return None, None
    excess = {x: said[x] / given - wanted[x] / asked for x in sorted(_LETTERS)}
    most = max(excess, key=lambda letter: excess[letter])
    return most, excess[most]
