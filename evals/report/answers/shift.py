"""Yes/no questions: whether the answers that changed can be explained by more or less yes.

A model that merely says no more often becomes right where no is right, and wrong where yes is.
Where nearly every answer that changed went the same way, such a shift cannot be distinguished from
a change in what the model sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.report.answers.answer import Answer, Question
from evals.report.answers.wording import choice
from evals.report.display.figures import PERCENT, count

_POLAR = 0.9  # of the questions want yes or no; references by people hold a few others
_FEWEST = 10  # answers that changed
_ONE_WAY = 0.9  # of them
_MOVED = 0.03  # of yes's share


@dataclass(frozen=True)
class Shift:
    """Questions whose right answer is yes or no, and that both stages answered so: the share of
    yes before and now and as wanted, how many answers changed to no and to yes, how many became
    right and how many are no longer right.
    """

    n: int
    yes_before: float
    yes_now: float
    yes_wanted: float
    to_no: int
    to_yes: int
    became: int
    ceased: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[Question, Answer, Answer]]) -> Shift | None:
        """None where the questions are not of this kind, or no answer of both stages is yes
        or no.
        """
        polar = [
            (wanted, old, new)
            for question, old, new in pairs
            if (wanted := choice(question.wanted)) in ("yes", "no")
        ]
        if len(polar) < _POLAR * len(pairs):
            return None
        read = [
            (wanted, before, now)
            for wanted, old, new in polar
            if (before := choice(old.parsed) or choice(old.said)) in ("yes", "no")
            and (now := choice(new.parsed) or choice(new.said)) in ("yes", "no")
        ]
        if not read:
            return None
        turned = [(wanted, now) for wanted, before, now in read if before != now]
        n = len(read)
        return cls(
            n=n,
            yes_before=sum(before == "yes" for _, before, _ in read) / n,
            yes_now=sum(now == "yes" for _, _, now in read) / n,
            yes_wanted=sum(wanted == "yes" for wanted, _, _ in read) / n,
            to_no=sum(now == "no" for _, now in turned),
            to_yes=sum(now == "yes" for _, now in turned),
            became=sum(wanted == now for wanted, now in turned),
            ceased=sum(wanted != now for wanted, now in turned),
        )

    @property
    def is_all(self) -> bool:
        """Whether nearly every answer that changed went one way, so that a shift explains
        them all.
        """
        turned, most = self.to_no + self.to_yes, max(self.to_no, self.to_yes)
        moved = abs(self.yes_now - self.yes_before)
        return turned >= _FEWEST and most >= _ONE_WAY * turned and moved >= _MOVED

    @property
    def always(self) -> tuple[str, float]:
        """The more frequent right answer, and the accuracy of always giving it."""
        return ("Yes" if self.yes_wanted >= 0.5 else "No"), max(
            self.yes_wanted, 1 - self.yes_wanted
        )

    @property
    def in_words(self) -> str:
        """The share of yes now and before, and which answers changed with it."""
        turned, most = self.to_no + self.to_yes, max(self.to_no, self.to_yes)
        way = "from yes to no" if self.to_no >= self.to_yes else "from no to yes"
        of = "all" if most == turned else f"{count(most)} of"
        return (
            f"it says yes on {PERCENT.value(self.yes_now)}, before on "
            f"{PERCENT.value(self.yes_before)}; {of} {count(turned)} answers that changed went "
            f"{way}, {count(self.became)} became right, {count(self.ceased)} no longer are"
        )
