"""Kinds of question, for a benchmark with one category: by the first words of a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evals.report.answers.wording import words

OTHER = "other questions"
_SHARE, _FEWEST = 0.03, 5


def kinds(questions: Sequence[str]) -> list[str]:
    """Each question's kind: its first two words, where at least 3 % of the questions (and five of
    them) begin so; empty where there would not be two kinds.

    >>> kinds(["How many cats?"] * 6 + ["how many dogs?"] * 5 + ["What color is it?"] * 9)[10:12]
    ['“how many …”', '“what color …”']
    """
    starts = [" ".join(words(text[:200]).split()[:2]) for text in questions]
    fewest = max(_FEWEST, _SHARE * len(starts))
    kept = {begin for begin, times in Counter(starts).items() if begin and times >= fewest}
    if len(kept) < 2:
        return [""] * len(starts)
    return [f"“{begin} …”" if begin in kept else OTHER for begin in starts]


def is_kind(category: str) -> bool:
    """Whether a category's name is that of a kind."""
    return category == OTHER or (category.startswith("“") and category.endswith(" …”"))
