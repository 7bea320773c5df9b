"""Text that cannot be seen, or turns its surroundings, is named."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from evals.report.display.visible import visible


@given(st.text(st.characters(codec=None)))
def test_nothing_unseen_is_left_and_nothing_else_changes(text):
    shown = visible(text)
    kept = {"Cc", "Cs"}
    assert [c for c in shown if unicodedata.category(c) in kept and c not in "\t\n"] == []
    assert [c for c in shown if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE")] == []
    assert visible(shown) == shown
    if text.isascii() and text.isprintable():
        assert shown == text


def test_names():
    assert visible("\x00\x1b\x85\u200b\ud800") == "⟨NUL⟩⟨ESC⟩⟨U+0085⟩⟨U+200B⟩⟨U+D800⟩"
    assert visible("a\tb\nc é 猫 😀") == "a\tb\nc é 猫 😀"
