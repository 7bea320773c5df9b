"""Words of answers and references, compared where the words around an answer do not count."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rewards.letters import LETTERS

# A number with its sign and separators is one word. In scripts without spaces (kana, Chinese
# characters) every character is a word.
_WORD = re.compile(
    r"(?<![\w.])-?\d+(?:[.,:/-]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
    r"|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)
_LONGEST = 20_000  # characters of an answer that are read
_LETTERS = frozenset(LETTERS[:10])


def words(text: str) -> str:
    """The words of a text in lower case, with one space between them.

    >>> words("It is a 3."), words("14.5 %"), words("The sign: STOP!")
    ('it is a 3', '14.5', 'the sign stop')
    """
    return " ".join(_WORD.findall(text[:_LONGEST].lower()))


def holds(text: str, part: str) -> bool:
    """Whether `part` appears in `text`, word by word in a row (both as `words` returns them)."""
    return bool(part) and f" {part} " in f" {text} "


def is_read_in_part(text: str, parsed: Any) -> bool:
    """Whether the rule read a part of the answer (a number, a letter, yes or no) and not the whole:
    what it read is the content then.

    >>> is_read_in_part("it is a circle", "it is circle"), is_read_in_part("so 4 + 3 is 7", "7")
    (False, True)
    """
    if not isinstance(parsed, str):
        return True
    if len(parsed) == len(text):
        return False
    return 2 * len(words(parsed).split()) < len(words(text).split())


@lru_cache(maxsize=1 << 16)
def choice(text: str | None) -> str:
    """`yes`, `no`, or a letter of an option; empty for any other text.

    >>> choice("Yes."), choice("(b)"), choice("a cat")
    ('yes', 'B', '')
    """
    bare = (text or "").strip().rstrip(".").strip("()")
    if bare.lower() in ("yes", "no"):
        return bare.lower()
    return bare.upper() if bare.upper() in _LETTERS else ""
