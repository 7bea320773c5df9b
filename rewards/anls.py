"""ANLS (average normalised Levenshtein similarity): how close an answer is to a reference, letter
by letter. DocVQA and InfographicVQA are scored by it, since OCR answers are often off by a letter.
"""

from collections.abc import Sequence

from rewards.base import reward

_THRESHOLD = 0.5


@reward(name="anls")
def anls(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """The similarity to the nearest reference, in [0, 1]; 0 where it is below one half.

    >>> anls("Nous les gosse", "nous les gosses"), anls("cat", "dog")
    (0.9333333333333333, 0.0)
    """
    return anls_similarity(text, [str(reference) for reference in references or (solution,)])


def anls_similarity(text: str, references: Sequence[str]) -> float:
    """ANLS as DocVQA and InfographicVQA are scored, in [0, 1].

    Kept on purpose: the distance is taken between the words in lower case with one space between
    them, but divided by the length of the longer raw text in upper case. Doubled spaces therefore
    cost nothing, and "ß", which is "SS" in upper case, counts twice. Raises: ValueError without
    references.

    Source: arXiv 1907.00490; lmms-eval@75571cfe0fa3, lmms_eval/api/metrics.py.

    >>> anls_similarity("Hello  World", ["hello world"]), anls_similarity("abc", ["xyz"])
    (1.0, 0.0)
    """
    if not references:
        raise ValueError("anls needs at least one reference")
    similarity = 1 - min(_distance_share(reference, text) for reference in references)
    return 0.0 if similarity < _THRESHOLD else float(similarity)


def anls_answer(text: str) -> str:
    """The form in which ANLS compares a text: words in lower case, one space between them."""
    return " ".join(text.strip().lower().split())


def _distance_share(reference: str, text: str) -> float:
    length = max(len(reference.upper()), len(text.upper()))
    if length == 0:
        return 0.0
    wanted, given = anls_answer(reference), anls_answer(text)
    # The difference in length is a lower bound of the distance. Where it alone puts the similarity
    # below the threshold, nothing is compared: an answer of a megabyte would take hours.
    least = abs(len(wanted) - len(given)) / length
    return least if 1 - least < _THRESHOLD else edit_distance(wanted, given) / length


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions and replacements of one character each.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if len(a) > len(b):
        a, b = b, a
    above = list(range(len(a) + 1))
    for row, right in enumerate(b, start=1):
        current = [row]
        for column, left in enumerate(a, start=1):
            replaced = above[column - 1] + (left != right)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]
