"""VQA soft accuracy against the annotators' answers, as TextVQA scores it."""

from collections.abc import Sequence

from rewards.base import reward
from rewards.text import vqa_soft_accuracy


@reward(name="vqa_accuracy")
def vqa_accuracy(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """Soft accuracy after the EvalAI processor, in [0, 1]; a single reference counts as ten equal
    ones.
    """
    return vqa_soft_accuracy(text, [str(reference) for reference in references or (solution,)])
