"""Relaxed accuracy, as ChartQA is scored: numbers within 5 %, other text equal apart from case."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="relaxed_accuracy")
def relaxed_accuracy(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """1.0 where the stripped answer is a reference, a number within 5 % of it; else 0.0."""
    answer = text.strip()
    given = [str(reference) for reference in references or (solution,)]
    return float(any(relaxed_match(answer, reference) for reference in given))


def relaxed_match(text: str, target: str, tolerance: float = 0.05) -> bool:
    """Whether `text` is close enough to `target`.

    Where both are numbers ("12%" is 0.12) and the target is not 0, their relative difference must
    be at most `tolerance`. Anything else must be equal in lower case, so "0.0" is not "0". A number
    is what Python's `float` reads as a whole.

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
