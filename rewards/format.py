"""Whether the whole answer has a required form, such as reasoning tags followed by an answer."""

import re

from rewards.base import reward


@reward(name="format")
def format(text: str, pattern: str) -> float:
    """1.0 where the regular expression `pattern` matches the whole answer, else 0.0. A period in
    the pattern matches line ends too.

    >>> format("<think>a\\nb</think>7", r"<think>.*</think>\\d+")
    1.0
    """
    return float(re.fullmatch(pattern, text, re.DOTALL) is not None)
