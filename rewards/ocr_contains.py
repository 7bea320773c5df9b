"""Whether a reference is anywhere in the answer, as OCRBench is scored."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="ocr_contains")
def ocr_contains(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """1.0 where the answer contains a reference, also inside a word, apart from case and line ends;
    else 0.0.

    Source: Yuliang-Liu/MultimodalOCR@794c36d6423c, OCRBench/example.py.

    >>> ocr_contains("It says CENTRE\\nOF TOWN", "centre of"), ocr_contains("centred", "centre")
    (1.0, 1.0)
    """
    given = [str(reference) for reference in references or (solution,)]
    return float(any(ocr_text(reference) in ocr_text(text) for reference in given))


def ocr_text(text: str) -> str:
    """The form in which OCRBench compares a text: lower case, stripped, spaces for line ends."""
    return text.lower().strip().replace("\n", " ")


def formula_text(text: str) -> str:
    """The form in which OCRBench compares a formula (data set HME100k): without white space, case
    kept.
    """
    return text.strip().replace("\n", " ").replace(" ", "")


def fold_full_width(text: str) -> str:
    """The text with plain ASCII for full-width characters and the ideographic space.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/ocrbench/utils.py.

    >>> fold_full_width("ＡＢＣ　１")
    'ABC 1'
    """
    return text.translate(_PLAIN)


_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
