"""1 where the answer's last number is the reference, within a tolerance."""

from collections.abc import Sequence

from rewards.base import reward
from rewards.text import last_number
from rl.core import Score


@reward(name="numeric")
def numeric(
    text: str,
    solution: str | float,
    references: Sequence[str] = (),
    tolerance: float = 0.0,
    absolute: float = 0.0,
) -> float | Score:
    """1.0 where the last number is within `tolerance` x |reference| or within `absolute` of a
    reference, else 0.0.

    An answer without a number is 0.0 and unparsed. Raises: ValueError where no reference holds a
    number.
    """
    targets = [last_number(str(reference)) for reference in references or (solution,)]
    known = [target for target in targets if target is not None]
    if not known:
        raise ValueError(f"no number in the references {tuple(references) or (solution,)!r}")
    stated = last_number(text)
    if stated is None:
        return Score(0.0, "unparsed", "no number")
    # A hair of slack: 1.05 is within 5 % of 1 although floats say 0.050000000000000044.
    return float(
        any(
            abs(stated - target) <= max(tolerance * abs(target), absolute) + 1e-12 * abs(target)
            for target in known
        )
    )
