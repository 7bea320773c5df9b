"""Relaxed accuracy, as ChartQA is scored: numbers within 5 %, other answers equal but for case."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="relaxed_accuracy")
def relaxed_accuracy(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """1.0 where the stripped answer is a reference, numbers within 5 %, else 0.0."""
    answer = text.strip()
    given = [str(reference) for reference in references or (solution,)]
    return float(any(relaxed_match(answer, reference) for reference in given))


def relaxed_match(text: str, target: str, tolerance: float = 0.05) -> bool:
    """Whether both are numbers ("12%" is 0.12) and `text` is within `tolerance` of a target that is
    not 0, or else both are the same in lower case. What is a number is what Python's float reads.

    Source: google-research/pix2struct, pix2struct/metrics.py (relaxed_correctness).

    >>> relaxed_match("13.3", "14"), relaxed_match("14%", "14"), relaxed_match("0.0", "0")
    (True, False, False)
    """
    stated, wanted = relaxed_number(text), relaxed_number(target)
    if stated is not None and wanted:
        return abs(stated - wanted) / abs(wanted) <= tolerance
    return text.lower() == target.lower()


def relaxed_number(text: str) -> float | None:
    """The number that the whole text is, or None."""
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
