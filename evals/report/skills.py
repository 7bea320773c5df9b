"""On which skill a stage changed the model: the categories of one comparison, each by its own
turned answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.report.figures import number
from evals.report.records import Comparison, Result
from evals.report.turned import Turned
from evals.stats import holm, sign_test

ALPHA = 0.05
NAMED = 4


@dataclass(frozen=True)
class Skill:
    """A category: its change in points of accuracy, turned answers, and the exact sign test's
    p-value, adjusted by Holm over the benchmark's categories.
    """

    category: str
    points: float | None
    won: int
    lost: int
    p_holm: float

    @property
    def verdict(self) -> str:
        if self.p_holm > ALPHA or self.won == self.lost:
            return "no evidence"
        return "better" if self.won > self.lost else "worse"


def skills(comparison: Comparison, mine: Result, theirs: Result | None) -> list[Skill]:
    """Every category of a comparison, the largest change first."""
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


def in_words(found: list[Skill], turned: Mapping[str, Turned] | None = None) -> str:
    """One sentence: which categories became better, which worse, beyond chance. `turned` tells
    graded scores that changed in part from answers that became right or ceased to be.
    """
    parts = []
    for verdict, words in (("better", "better on"), ("worse", "worse on")):
        sure = [skill for skill in found if skill.verdict == verdict]
        if not sure:
            continue
        named = ", ".join(
            _named(skill, (turned or {}).get(skill.category)) for skill in sure[:NAMED]
        )
        more = f" and {len(sure) - NAMED} more" if len(sure) > NAMED else ""
        parts.append(f"{words} {named}{more}")
    if not parts:
        return "no evidence that any category changed"
    return "; ".join(parts)


def _named(skill: Skill, turned: Turned | None) -> str:
    points = f"{number(skill.points, 1, sign=True)} points, " if skill.points is not None else ""
    told = (turned or Turned(became=skill.won, ceased=skill.lost)).in_words
    return f"{skill.category} ({points}{told})"
