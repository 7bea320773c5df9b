"""GSM8K's two rules for the number that an answer gives, and the reward that applies them.

The training answers of GSM8K end in "#### 18". The strict rule reads the number after "#### "; the
flexible rule reads the last number of the answer, for models that were not taught the mark:

    answer                  strict   flexible
    "... so 18.\\n#### 18"   18       18
    "#### $18"              -        $18
    "The answer is 18."     -        18.
"""

from __future__ import annotations

import re
from typing import Literal

from rewards.base import reward
from rl.core import Score

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_LAST_PERIOD = re.compile(r"\.$")


@reward(name="gsm8k")
def gsm8k(
    text: str, solution: str, rule: Literal["strict", "flexible"] = "strict"
) -> float | Score:
    """1.0 where the rule reads the right number, 0.0 for another number.

    The solution is the number, or the reasoning that ends in "#### <number>". An answer without a
    number is 0.0 and unparsed. Source: as `gsm8k_answer`.

    >>> gsm8k("so 4 + 3 = 7", "#### 7", rule="flexible"), gsm8k("#### 7.", "7")
    (1.0, 1.0)
    >>> gsm8k("so 4 + 3 = 7", "7").status
    'unparsed'
    """
    answer = gsm8k_answer(text, rule)
    if answer is None:
        return Score(0.0, "unparsed", f"no number by the {rule} rule")
    return float(gsm8k_is_right(answer, solution))


def gsm8k_answer(text: str, rule: Literal["strict", "flexible"]) -> str | None:
    """The number that the rule extracts, as it is written; None without any.

    Strict is the first number after "#### ". Flexible is the last run of digits, dollar signs,
    commas and periods.

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
    """Whether answer and reference are the same text without commas, dollar signs, the reasoning
    before "#### " and a final period. "7.0" is not "7".

    Source: as `gsm8k_answer`, and lm_eval/api/metrics.py (exact_match).

    >>> gsm8k_is_right("$1,000.", "He has 1000.\\n#### 1000"), gsm8k_is_right("7.0", "#### 7")
    (True, False)
    """
    return answer is not None and _plain_number(answer) == _plain_number(reference)


def _plain_number(text: str) -> str:
    text = text.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return _LAST_PERIOD.sub("", text).lower()
