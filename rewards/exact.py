"""1 where the answer is one of the references, letter by letter."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="exact")
def exact(
    text: str, solution: str, references: Sequence[str] = (), ignore_case: bool = False
) -> float:
    """1.0 where the stripped answer equals a stripped reference, else 0.0."""
    accepted = {str(reference).strip() for reference in references or (solution,)}
    answer = text.strip()
    if ignore_case:
        answer, accepted = answer.casefold(), {reference.casefold() for reference in accepted}
    return float(answer in accepted)
