"""Whether an answer's last number is the reference, and how that number is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.base import reward
from rl.core import Score

_NUMBER = re.compile(
    r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?", re.ASCII
)
# 1.05 is within 5 % of 1, although floats make the difference 0.050000000000000044.
_ROUNDING = 1e-12


@reward(name="numeric")
def numeric(
    text: str,
    solution: str | float,
    references: Sequence[str] = (),
    tolerance: float = 0.0,
    absolute: float = 0.0,
) -> float | Score:
    """1.0 where the answer's last number is close enough to a reference, else 0.0.

    Close enough is a difference of at most `tolerance` x |reference|, or of at most `absolute`. An
    answer without a number is 0.0 and unparsed. Raises: ValueError where no reference holds a
    number.

    >>> numeric("3 + 4 = 7.2", "7"), numeric("3 + 4 = 7.2", "7", tolerance=0.05)
    (0.0, 1.0)
    """
    targets = [last_number(str(reference)) for reference in references or (solution,)]
    known = [target for target in targets if target is not None]
    if not known:
        raise ValueError(f"no number in the references {tuple(references) or (solution,)!r}")
    stated = last_number(text)
    if stated is None:
        return Score(0.0, "unparsed", "no number")
    return float(
        any(
            abs(stated - target) <= max(tolerance * abs(target), absolute) + _ROUNDING * abs(target)
            for target in known
        )
    )


def last_number(text: str) -> float | None:
    """The last number in the text, or None without any. Commas between groups of three digits are
    allowed, and "%" means hundredths.

    >>> last_number("from 3 to 1,250.5"), last_number("12%"), last_number("none")
    (1250.5, 0.12, None)
    """
    found = _NUMBER.findall(text)
    if not found:
        return None
    token = found[-1].replace(",", "")
    value = float(token.rstrip("%"))
    return value / 100 if token.endswith("%") else value
