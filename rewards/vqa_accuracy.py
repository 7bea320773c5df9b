"""Soft accuracy against the answers of several people, as TextVQA is scored (`rewards/text.py`)."""

from collections.abc import Sequence

from rewards.base import reward
from rewards.text import vqa_soft_accuracy


@reward(name="vqa_accuracy")
def vqa_accuracy(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """The soft accuracy after the EvalAI processor, in [0, 1]: 1 where at least three other people
    of ten gave the answer. A single reference counts as ten equal ones.

    >>> vqa_accuracy("The cat.", "cat")
    1.0
    """
    return vqa_soft_accuracy(text, [str(reference) for reference in references or (solution,)])
