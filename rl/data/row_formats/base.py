"""What a row format is: a name, the key that marks its rows, a way to read them, and example rows.

A file of this folder holds one of two things:

- A function with the decorator `row_format`, which turns a row into a row of another format or into
  the record itself. This is the way to add a format.
- A `Turns` or a `Flat`, which read the row's own keys, so that an error names the key that the user
  wrote.
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
    """Makes a function of one row the format `name`, whose rows are found by `key`.

        @row_format(name="captions", key="caption", examples={"demonstration": {"caption": "A"}})
        def to_row(row: dict[str, Any]) -> dict[str, Any]:
            return {"messages": [...]}

    `examples` holds a row for each reading that the format serves; contract tests read them.
    """

    def mark(function: F) -> F:
        vars(function).update(name=name, key=key, examples=examples)
        return function

    return mark


@dataclass(frozen=True, kw_only=True)
class Turns:
    """A format whose rows hold the whole conversation as turns under one key."""

    name: str
    key: str
    examples: Examples

    def read(self, draft: Draft) -> None:
        """Reads the row's turns into the draft. Raises: DataError."""
        draft.messages = read_messages(draft.take(self.key), draft.media, key=self.key)


@dataclass(frozen=True, kw_only=True)
class Flat:
    """A format whose rows hold one question under `key`, and may hold `system` and `history`.

    Where the row has images and the question no marks, the images go before the question.
    """

    name: str
    key: str
    examples: Examples
    may_be_turns: bool = False  # whether the value may also be a list of turns
    more: str | None = None  # the key of a second text, which goes below the question

    def read(self, draft: Draft) -> None:
        """Reads the row's turns into the draft. Raises: DataError."""
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
