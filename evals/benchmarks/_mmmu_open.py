"""How MMMU grades an open answer: what the response states, and whether that is the reference.

MMMU's script looks for answers behind key words ("so", "is", "answer", ...), adds every number that
it finds there, and accepts the response when any of these is a reference. `mmmu.py` asks this file
for the questions that have no options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
# The official expressions find numbers with commas, in scientific notation, and plain ones. Ours
# find the same, and are anchored: a long run of digits is tried once and not from each digit.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"(?:-|(?<!\d))\d++(?:\.\d++)?[eE][+-]?\d+"),
    re.compile(r"(?:-|(?<!\d)(?=\d)|(?=\.))(?:\d++\.\d++|\.\d++|\d++\b)(?![eE][+-]?\d)(?![,\d])"),
)


def mmmu_forms(text: str) -> list[str | float]:
    """The forms in which MMMU compares a text.

    A number is rounded to two decimals, other text is lower-cased. A single character gets a space
    before or after it, so that it is not found inside every word.

    >>> mmmu_forms("1,234.567"), mmmu_forms(" Paris "), mmmu_forms("x")
    ([1234.57], ['paris'], [' x', 'x '])
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def mmmu_open_answers(text: str) -> list[str | float]:
    """What an open response states by MMMU's own rule, in its forms.

    Of each line this is the shortest tail after a key word, or the whole response where no line has
    one, and every number in these texts.

    Kept on purpose: the official split into sentences at ". " before a capital letter never
    happens, since the text is lower-cased before.

    Source: MMMU-Benchmark/MMMU@bb0b95a94599, mmmu/utils/eval_utils.py (parse_open_response).

    >>> mmmu_open_answers("The result is 7. The final answer is 9")
    [9.0]
    """
    parts = _key_parts(text.strip().strip(".").lower())
    numbers = [found for part in parts for rule in _NUMBERS for found in rule.findall(part)]
    # Long answers repeat themselves. A text that occurs twice is read once.
    stated = dict.fromkeys([*parts, *numbers])
    return list(dict.fromkeys(form for text in stated for form in mmmu_forms(text)))


def _key_parts(text: str) -> list[str]:
    """The shortest tail after a key word of each line that has one, else the text itself."""
    lines = text.split("\n")
    parts = []
    for number, line in enumerate(lines):
        is_last = number == len(lines) - 1
        shortest = ""
        for key in (*_KEYS, "=") if is_last else _KEYS:
            if key not in line:
                continue
            tail = line.rpartition(key)[2].strip()
            # Kept on purpose: an empty tail is the shortest, and the next tail then replaces it
            # however long it is, as in the official script.
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in _TRIVIAL:
            parts.append(shortest)
    return parts or [text]


def mmmu_open_is_right(stated: Sequence[str | float], references: Sequence[str]) -> bool:
    """Whether a stated text contains a reference, or a stated number equals one.

    Source: as `mmmu_open_answers` (eval_open).
    """
    wanted = [form for reference in references for form in mmmu_forms(reference)]
    for form in stated:
        if isinstance(form, str):
            if any(isinstance(text, str) and text in form for text in wanted):
                return True
        elif form in wanted:
            return True
    return False
