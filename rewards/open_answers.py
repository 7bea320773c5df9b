"""Open answers out of free text: MMMU's key phrases and numbers, GSM8K's two filters, MathVista's
normal form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rewards.base import reward
from rewards.letters import letters_of
from rl.core import Score

# --- MMMU ---------------------------------------------------------------------------------------

_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
# The official expressions, anchored so that a long run of digits is tried once and not from each
# of its digits; what they find is the same.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"(?:-|(?<!\d))\d++(?:\.\d++)?[eE][+-]?\d+"),
    re.compile(r"(?:-|(?<!\d)(?=\d)|(?=\.))(?:\d++\.\d++|\.\d++|\d++\b)(?![eE][+-]?\d)(?![,\d])"),
)


def mmmu_forms(text: str) -> list[str | float]:
    """The forms in which MMMU compares a text: a number rounded to two decimals, else lower-cased;
    a single character with a space before or after it.

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
    """What an open response states by MMMU's own rule: of each line the shortest tail after a key
    word, or the whole text, and every number in them.

    The official split at ". " before a capital never happens: the text is lower-cased before.
    Source: MMMU-Benchmark/MMMU@bb0b95a94599, mmmu/utils/eval_utils.py (parse_open_response).

    >>> mmmu_open_answers("The result is 7. The final answer is 9")
    [9.0]
    """
    parts = _key_parts(text.strip().strip(".").lower())
    numbers = [found for part in parts for rule in _NUMBERS for found in rule.findall(part)]
    # Long answers repeat themselves: what stands twice is read once.
    stated = dict.fromkeys([*parts, *numbers])
    return list(dict.fromkeys(form for text in stated for form in mmmu_forms(text)))


def _key_parts(text: str) -> list[str]:
    lines = text.split("\n")
    parts = []
    for number, line in enumerate(lines):
        is_last = number == len(lines) - 1
        shortest = ""
        for key in (*_KEYS, "=") if is_last else _KEYS:
            if key not in line:
                continue
            tail = line.rpartition(key)[2].strip()
            # An empty tail is shorter than any, and then gives way to any: as officially.
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


# --- GSM8K --------------------------------------------------------------------------------------

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_LAST_PERIOD = re.compile(r"\.$")


def gsm8k_answer(text: str, rule: Literal["strict", "flexible"]) -> str | None:
    """The number that the rule extracts: strict the first after "#### ", flexible the last that
    looks like one (dollar signs, commas and periods included).

    Source: EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/gsm8k/gsm8k.yaml.

    >>> gsm8k_answer("#### $7", "strict"), gsm8k_answer("#### $7", "flexible")
    (None, '$7')
    """
    if rule == "strict":
        match = _STRICT.search(text)
        return match[1] if match else None
    found = _FLEXIBLE.findall(text)
    return found[-1] if found else None


def gsm8k_is_right(answer: str | None, reference: str) -> bool:
    """Exact match after commas, dollar signs, the reasoning before "#### " and a final period are
    dropped from both.

    Source: as `gsm8k_answer`, and lm_eval/api/metrics.py (exact_match).
    """
    return answer is not None and _plain_number(answer) == _plain_number(reference)


def _plain_number(text: str) -> str:
    text = text.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return _LAST_PERIOD.sub("", text).lower()


@reward(name="gsm8k")
def gsm8k(
    text: str, solution: str, rule: Literal["strict", "flexible"] = "strict"
) -> float | Score:
    """1.0 where GSM8K's rule reads the right number; an answer without one is 0.0 and unparsed.
    The solution is the number, or the reasoning that ends in "#### <number>". Source: as
    `gsm8k_answer`.

    >>> gsm8k("so 4 + 3 = 7", "#### 7", rule="flexible"), gsm8k("#### 7.", "7")
    (1.0, 1.0)
    """
    answer = gsm8k_answer(text, rule)
    if answer is None:
        return Score(0.0, "unparsed", f"no number by the {rule} rule")
    return float(gsm8k_is_right(answer, solution))


# --- MathVista ----------------------------------------------------------------------------------

_QUOTES_ANSWER = 'The answer is "'
_BRACKETED_LETTER = re.compile(r"\(([a-zA-Z])\)")


def mathvista_extract(
    text: str, question_type: str, answer_type: str, choices: Sequence[str]
) -> str | None:
    """What can be read without a judge: a choice's own text, a whole integer or float, 'The answer
    is "..."', or a choice's letter alone; None otherwise.

    Source: lupantech/MathVista, evaluation/extract_answer.py (its quick extraction); the letter is
    what the authors' language model is asked for.

    >>> mathvista_extract("14", "free_form", "integer", ())
    '14'
    >>> mathvista_extract("(B) 8/11", "multi_choice", "text", ("3/11", "8/11"))
    'B'
    """
    text = text.strip()
    if question_type == "multi_choice" and text in choices:
        return text
    kind = {"integer": int, "float": float}.get(answer_type)
    if kind is not None:
        try:
            return str(kind(text))
        except ValueError:
            pass
    if (quoted := _quoted_answer(text)) is not None:
        return quoted
    if question_type == "multi_choice":
        return _choice_letter(text, choices)
    return text if answer_type == "list" and text.startswith("[") and text.endswith("]") else None


def _quoted_answer(text: str) -> str | None:
    """What stands between 'The answer is "' and the last '".' of a line."""
    for line in text.split("\n"):
        start = line.find(_QUOTES_ANSWER)
        end = line.rfind('".', start + len(_QUOTES_ANSWER))
        if start >= 0 and end >= 0:
            return line[start + len(_QUOTES_ANSWER) : end]
    return None


def _choice_letter(text: str, choices: Sequence[str]) -> str | None:
    letters = letters_of(choices)
    bracketed = set(_BRACKETED_LETTER.findall(text))
    if len(bracketed) == 1:
        letter = bracketed.pop().upper()
        return letter if letter in letters else None
    alone = re.fullmatch(r"([A-Z])(?:[.:)]\s.*|[.:)]?)", text, re.DOTALL)
    return alone[1] if alone and alone[1] in letters and not bracketed else None


def mathvista_normal(
    extraction: str,
    question_type: str,
    answer_type: str,
    choices: Sequence[str],
    precision: float | None,
) -> str | None:
    """The extraction in the form of the answer: a choice's text by its letter, `int(float(x))`,
    `round(float(x), precision)`, or as it is; None where it cannot be.

    Source: lupantech/MathVista, evaluation/calculate_score.py (normalize_extracted_answer).
    Departs: a text that is no choice stays unread, where the program takes the choice of the
    smallest edit distance (an empty text gets the shortest choice).

    >>> mathvista_normal("(b)", "multi_choice", "text", ("3/11", "8/11"), None)
    '8/11'
    """
    if question_type == "multi_choice":
        text = extraction.strip()
        if bracketed := _BRACKETED_LETTER.search(text):
            text = bracketed[1].upper()
        by_letter = dict(zip(letters_of(choices), choices, strict=True))
        return by_letter.get(text, text if text in choices else None)
    try:
        if answer_type == "integer":
            return str(int(float(extraction)))
        if answer_type == "float":
            digits = None if precision is None else int(precision)
            return str(round(float(extraction), digits))
    except (ValueError, OverflowError):
        return None
    return extraction
