"""What a row format is: the key that marks its rows, how they are read, and examples of them.

A file of this folder holds one of two things. A function marked by `row_format` turns a row into
one of another format, or into the record itself; that is the way to add a format. `Turns` and
`Flat` read a row as it stands, so that faults are told by the row's own keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rl.data.drafts import Draft
from rl.data.turns import read_history, read_messages, turn

F = TypeVar("F", bound=Callable[[dict[str, Any]], Any])
Examples = Mapping[
    str, Mapping[str, Any]
]  # reading (demonstration, preference, labelled, group) -> a row


def row_format(*, name: str, key: str, examples: Examples) -> Callable[[F], F]:
    """Marks a function of one row as the format `name`, whose rows hold `key`."""

    def mark(function: F) -> F:
        vars(function).update(name=name, key=key, examples=examples)
        return function

    return mark


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The whole conversation as turns under one key."""

    name: str
    key: str
    examples: Examples

    def read(self, draft: Draft) -> None:
        """Fills the draft's messages. Raises: DataError."""
        draft.messages = read_messages(draft.take(self.key), draft.media, key=self.key)


@dataclass(frozen=True, kw_only=True)
class Flat:
    """A question under one key, with `system` and `history`, and perhaps an answer under its own.

    `more` is the key of a second text, put below the first. An image without a mark stands before
    the question.
    """

    name: str
    key: str
    examples: Examples
    may_be_turns: bool = False
    more: str | None = None

    def read(self, draft: Draft) -> None:
        """Fills the draft's messages. Raises: DataError."""
        media, content = draft.media, draft.take(self.key)
        if isinstance(content, (list, tuple)) and self.may_be_turns:
            draft.messages = read_messages(content, media, key=self.key)
        else:
            if draft.has("system"):
                draft.messages.append(turn("system", draft.take("system"), media, "system"))
            if draft.has("history"):
                draft.messages += read_history(draft.take("history"), media)
            extra = draft.take(self.more) if self.more else None
            if isinstance(extra, str) and extra.strip():
                content = f"{content}\n{extra}" if isinstance(content, str) else content
            draft.has_text_prompt = isinstance(content, str) and not draft.messages
            draft.messages.append(turn("user", content, media, self.key))
        if media.num_marks == 0 and media.listed:
            _mark_front(draft)


def _mark_front(draft: Draft) -> None:
    """Puts the images before the first user turn's text."""
    marks = tuple(draft.media.mark() for _ in draft.media.listed)
    for place, message in enumerate(draft.messages):
        if message.role == "user":
            draft.messages[place] = replace(message, parts=(*marks, *message.parts))
            return
