"""1 where the whole answer has a given form."""

import re

from rewards.base import reward


@reward(name="format")
def format(text: str, pattern: str) -> float:
    """1.0 where the regular expression `pattern` matches the whole answer (a period matches line
    ends too), else 0.0.
    """
    return float(re.fullmatch(pattern, text, re.DOTALL) is not None)
