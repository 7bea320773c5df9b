"""Whether the answer equals one of the references."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="exact")
def exact(
    text: str, solution: str, references: Sequence[str] = (), ignore_case: bool = False
) -> float:
    """1.0 where the answer equals a reference, both without white space at their ends; else 0.0.

    >>> exact(" Paris", "Paris"), exact("paris", "Paris"), exact("paris", "Paris", ignore_case=True)
    (1.0, 0.0, 1.0)
    """
    accepted = {str(reference).strip() for reference in references or (solution,)}
    answer = text.strip()
    if ignore_case:
        answer, accepted = answer.casefold(), {reference.casefold() for reference in accepted}
    return float(answer in accepted)
