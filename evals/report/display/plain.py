"""Text for Markdown files. Names come from data and models: none of them may act as markup."""

from __future__ import annotations

import re

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKUP = re.compile(r"[\\`*_|#~&]|<(?=[A-Za-z/!?])|\](?=[(\[:])|:(?=//)")


def plain(text: str) -> str:
    """Text for a Markdown line: no markup, no link, no line break, no mark that turns the writing
    direction.

    >>> print(plain("<b>[x](y)</b> [1, 2] p<0.001"))
    \\<b>[x\\](y)\\</b> [1, 2] p<0.001
    """
    flat = _BIDI.sub("", " ".join(str(text).split()))
    return _MARKUP.sub(r"\\\g<0>", flat)
