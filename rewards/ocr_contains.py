"""1 where a reference stands anywhere in the answer, as OCRBench is scored."""

from collections.abc import Sequence

from rewards.base import reward


@reward(name="ocr_contains")
def ocr_contains(text: str, solution: str, references: Sequence[str] = ()) -> float:
    """1.0 where a reference is contained in the answer, case and line ends apart, else 0.0.

    Source: Yuliang-Liu/MultimodalOCR@794c36d6423c, OCRBench/example.py.
    """
    given = [str(reference) for reference in references or (solution,)]
    return float(any(ocr_text(reference) in ocr_text(text) for reference in given))


def ocr_text(text: str) -> str:
    """Lower case, stripped, line ends as spaces."""
    return text.lower().strip().replace("\n", " ")


def formula_text(text: str) -> str:
    """Stripped and without line ends and spaces; case kept: the rule of HME100k."""
    return text.strip().replace("\n", " ").replace(" ", "")


def fold_full_width(text: str) -> str:
    """Full-width ASCII and the ideographic space as the plain ones.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/ocrbench/utils.py.

    >>> fold_full_width("ＡＢＣ　１")
    'ABC 1'
    """
    return text.translate(_PLAIN)


_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
