"""Text from models and data with its invisible characters shown: each gets a visible name."""

from __future__ import annotations

import re

# Some control characters, and the marks that set the writing direction: an unclosed one would
# reverse the text after it.
NAMES = {
    0x00: "NUL",
    0x08: "BS",
    0x0D: "CR",
    0x1B: "ESC",
    0x7F: "DEL",
    0x061C: "ALM",
    0x200E: "LRM",
    0x200F: "RLM",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
}
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069"
    "\ufeff\ud800-\udfff]"
)


def visible(text: object) -> str:
    r"""Text with every control character and direction mark replaced by its name.

    >>> visible("a\x00b\u202ec"), visible("line\nline")
    ('a⟨NUL⟩b⟨RLO⟩c', 'line\nline')
    """
    return _UNSEEN.sub(lambda found: _name(ord(found[0])), str(text))


def _name(code: int) -> str:
    return f"⟨{NAMES.get(code) or f'U+{code:04X}'}⟩"
