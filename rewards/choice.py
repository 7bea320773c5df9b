"""Whether the answer states the right option letter; `rewards/letters.py` says how it is read."""

from rewards.base import reward
from rewards.letters import choice_letter
from rl.core import Score


@reward(name="choice")
def choice(text: str, solution: str) -> float | Score:
    """1.0 for the right letter, 0.0 for another one.

    An answer that states no letter or several is 0.0 and unparsed. Raises: ValueError where the
    solution is not an option letter.

    >>> choice("The answer is B.", "(B)"), choice("A", "B"), choice("A or B", "B").status
    (1.0, 0.0, 'unparsed')
    """
    right = choice_letter(solution)
    if right is None:
        raise ValueError(f"solution {solution!r} is not an option letter")
    stated = choice_letter(text)
    if stated is None:
        return Score(0.0, "unparsed", "no single option letter")
    return float(stated == right)
