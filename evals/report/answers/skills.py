"""On which skill a stage changed the model: the categories of one comparison, each tested on the
answers that changed in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.report.answers.turned import Turned
from evals.report.display.figures import PERCENT, number
from evals.scoring.significance import holm, sign_test

if TYPE_CHECKING:
    from evals.report.answers.groups import Tally
    from evals.report.records import Comparison, Interval, Result

ALPHA = 0.05
NAMED = 4
_SPOKEN = 0.05  # a smaller move of a score by form is not reported


@dataclass(frozen=True)
class Floor:
    """The accuracy of always giving one answer, in a category."""

    answer: str
    accuracy: float

    @property
    def in_words(self) -> str:
        return f"always answering {self.answer}: {PERCENT.value(self.accuracy)}"


@dataclass(frozen=True)
class Skill:
    """A category: its change in points of accuracy, turned answers, and the exact sign test's
    p-value, adjusted by Holm over the benchmark's categories. Where the answers were read, points
    and turned answers are those of the content, `tally` holds both, `floor` is what one answer
    always is right on, and `now` the interval of the content now.
    """

    category: str
    points: float | None
    won: int
    lost: int
    p_holm: float
    tally: Tally | None = None
    floor: Floor | None = None
    now: Interval | None = None

    @property
    def verdict(self) -> str:
        """`shift` where all that turned is a shift of yes; `not above` where the category rose, and
        not beyond what one answer always is right on; `below` where its interval lies below that.
        """
        if self.tally and self.tally.shift and self.tally.shift.is_all:
            return "shift"
        if self.p_holm > ALPHA or self.won == self.lost:
            return "no evidence"
        if self.won < self.lost:
            return "worse"
        return self._beside_floor

    @property
    def _beside_floor(self) -> str:
        """A category that rose, against always giving one answer: `better`, `not above` or
        `below`.
        """
        if self.tally is None or self.floor is None:
            return "better"
        low = self.now[0] if self.now else self.tally.content[1]
        if self.now and self.now[1] < self.floor.accuracy:
            return "below"
        return "not above" if low <= self.floor.accuracy else "better"


def skills(comparison: Comparison, mine: Result, theirs: Result | None) -> list[Skill]:
    """Every category of a comparison, the largest change first; from results alone."""
    flips = comparison.flips_by_category
    raw = {
        name: sign_test(flip.wrong_to_right, flip.right_to_wrong) for name, flip in flips.items()
    }
    adjusted = holm(raw)
    found = []
    for name, flip in flips.items():
        now = mine.part.categories.get(name)
        before = theirs.part.categories.get(name) if theirs else None
        points = None
        if now and before and now.accuracy is not None and before.accuracy is not None:
            points = 100 * (now.accuracy - before.accuracy)
        won, lost = flip.wrong_to_right, flip.right_to_wrong
        found.append(Skill(name, points, won, lost, adjusted[name]))
    return sorted(found, key=lambda skill: -abs(skill.won - skill.lost))


def skills_of(
    tallies: Mapping[str, Tally],
    floors: Mapping[str, Floor],
    intervals: Mapping[str, Interval],
) -> list[Skill]:
    """Every category of a comparison, the largest change first; from the answers."""
    adjusted = holm({name: sign_test(one.won, one.lost) for name, one in tallies.items()})
    found = [
        Skill(
            name,
            100 * (one.content[1] - one.content[0]),
            one.won,
            one.lost,
            adjusted[name],
            one,
            floors.get(name),
            intervals.get(name),
        )
        for name, one in tallies.items()
    ]
    return sorted(found, key=lambda skill: -abs(skill.won - skill.lost))


def in_words(found: Sequence[Skill], turned: Mapping[str, Turned] | None = None) -> list[str]:
    """Where the score moved by form; which categories became better, which worse, beyond chance,
    in content; each shift of yes. `turned` tells graded scores that changed in part from answers
    that became right or no longer are.
    """
    by_form, parts = _by_form(found), []
    for verdict, words in (
        ("better", "better on"),
        ("worse", "worse on"),
        ("not above", "risen, but not clearly above always giving one answer, on"),
        ("below", "risen, and still below always giving one answer, on"),
    ):
        sure = [skill for skill in found if skill.verdict == verdict]
        if not sure:
            continue
        named = ", ".join(
            _named(skill, (turned or {}).get(skill.category)) for skill in sure[:NAMED]
        )
        more = f" and {len(sure) - NAMED} more" if len(sure) > NAMED else ""
        parts.append(f"{words} {named}{more}")
    parts += [_shifted(skill) for skill in found if skill.verdict == "shift"]
    if not parts:
        parts = ["no evidence that any category changed"]
    if by_form:
        parts[0] = f"in content: {parts[0]}"
    return by_form + parts


def _by_form(found: Sequence[Skill]) -> list[str]:
    """Where most of what the score moved by is form, the largest first."""
    moved = [
        (now - before, skill.category, skill.tally.score)
        for skill in found
        if skill.tally is not None and _is_form(skill.tally)
        for before, now in (skill.tally.score,)
    ]
    if not moved:
        return []
    moved.sort(key=lambda item: -abs(item[0]))
    named = ", ".join(f"{category} {_from_to(score)}" for _, category, score in moved[:NAMED])
    more = f" and {len(moved) - NAMED} more" if len(moved) > NAMED else ""
    return [f"score, by form: {named}{more}"]


def _is_form(tally: Tally) -> bool:
    """Whether the score moved by 5 points or more, less than half of it by content."""
    (before, now), (stated, states) = tally.score, tally.content
    return abs(now - before) >= _SPOKEN and abs(states - stated) < 0.5 * abs(now - before)


def _shifted(skill: Skill) -> str:
    """`position: a shift of yes, ...`."""
    assert skill.tally is not None
    assert skill.tally.shift is not None
    always, accuracy = skill.tally.shift.always
    return (
        f"on {skill.category} a shift of yes: {skill.tally.shift.in_words}; "
        f"{_right(skill.tally)}, always answering {always} {PERCENT.value(accuracy)}"
    )


def _named(skill: Skill, turned: Turned | None) -> str:
    tally, floor = skill.tally, skill.floor
    if skill.verdict in ("not above", "below") and tally and floor:
        return f"{skill.category} ({_right(tally)}, {floor.in_words})"
    if tally is not None and tally.is_content_apart:
        before, now = tally.score
        moved = f"{'rose' if now > before else 'fell'} {_from_to(tally.score)}"
        if abs(now - before) < 5e-4:
            moved = f"stayed at {PERCENT.value(now)}"
        shares = f"{_right(tally)}, while the score {moved}"
        return f"{skill.category} ({shares})"
    points = f"{number(skill.points, 1, sign=True)} points, " if skill.points is not None else ""
    counts = (turned or Turned(became=skill.won, ceased=skill.lost)).in_words
    return f"{skill.category} ({points}{counts})"


def _right(tally: Tally) -> str:
    """The shares right; in content, where the score is another."""
    where = " in content" if tally.is_content_apart else ""
    return f"right{where} {_from_to(tally.content)}"


def _from_to(values: tuple[float, float]) -> str:
    return f"{PERCENT.value(values[0])} → {PERCENT.value(values[1])}"
