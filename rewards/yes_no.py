"""1 where the answer is the right one of yes and no, as MME reads it."""

from rewards.base import reward
from rewards.text import yes_no_official
from rl.core import Score


@reward(name="yes_no")
def yes_no(text: str, solution: str) -> float | Score | None:
    """1.0 for the right answer, 0.0 for the wrong one; neither is 0.0 and unparsed; None where the
    solution is not yes or no.
    """
    right = solution.strip().rstrip(".").lower()
    if right not in ("yes", "no"):
        return None
    stated = yes_no_official(text.strip())
    if stated == "other":
        return Score(0.0, "unparsed", "neither yes nor no")
    return float(stated == right)
