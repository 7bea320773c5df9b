"""Whether a reference is part of the answer, as whole words."""

import re
from collections.abc import Sequence

from rewards.base import reward


@reward(name="contains")
def contains(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """1.0 where the answer contains a reference, apart from case and not inside a longer word; else
    0.0.

    >>> contains("It is a Cat.", "cat"), contains("It is a caterpillar.", "cat")
    (1.0, 0.0)
    """
    words = [str(reference).strip().casefold() for reference in references or (solution,)]
    answer = text.casefold()
    return float(
        any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer) for word in words if word)
    )
