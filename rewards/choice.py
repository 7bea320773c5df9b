"""1 where the answer states the right option letter."""

from rewards.base import reward
from rewards.letters import choice_letter
from rl.core import Score


@reward(name="choice")
def choice(text: str, solution: str) -> float | Score:
    """1.0 for the right letter, 0.0 for another; an answer that states none, or several, is 0.0 and
    unparsed.

    Raises: ValueError where the solution is not an option letter.
    """
    right = choice_letter(solution)
    if right is None:
        raise ValueError(f"solution {solution!r} is not an option letter")
    stated = choice_letter(text)
    if stated is None:
        return Score(0.0, "unparsed", "no single option letter")
    return float(stated == right)
