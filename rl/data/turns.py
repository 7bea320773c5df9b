"""The turns of a row -> `Message`s with image marks.

Reads `{role, content}` and `{from, value}`, content that is text or a list of blocks, and `<image>`
marks inside texts. The DataErrors raised here have no place; `rl/data/rows.py` adds file, line and
uid.

>>> media = Media(listed=["cat.jpg"])
>>> read_messages([{"from": "human", "value": "<image>Which animal?"}], media)[0].parts
(Image(index=0), Text(text='Which animal?'))
>>> media.used
['cat.jpg']
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.core import Answer, Image, Message, Part, Role, Text
from rl.errors import DataError

IMAGE_MARK = "<image>"
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}
_MARKS = re.compile(re.escape(IMAGE_MARK))
_OTHER_MEDIA = ("video", "video_url", "audio", "input_audio")


@dataclass
class Media:
    """Matches the image marks of a row with its images.

    A mark either carries its image (a block `{type: image, image: ...}`) or takes the next one of
    the row's list. `check`, after all turns are read, refuses a list that is too short or too long.
    """

    listed: Sequence[Any] = ()  # the row's `images`
    used: list[Any] = field(default_factory=list)  # the image of each mark, in their order
    num_taken: int = 0  # of the list
    num_marks: int = 0

    def mark(self, own: Any = None) -> Image:
        """Counts a mark and returns its place; `own` is the image that the mark carries."""
        self.num_marks += 1
        if own is None:
            own = self.listed[self.num_taken] if self.num_taken < len(self.listed) else None
            self.num_taken += 1
        self.used.append(own)
        return Image(len(self.used) - 1)

    def check(self) -> None:
        """Raises: DataError where there are more marks than images, or fewer."""
        if self.num_taken > len(self.listed):
            counts = f"{self.num_taken} marks, {len(self.listed)} images"
            what = f"more {IMAGE_MARK} marks than images ({counts})"
            raise DataError(what, do="add the missing images, or take marks out")
        if self.num_taken < len(self.listed):
            counts = f"{len(self.listed)} images, {self.num_taken} marks"
            what = f"more images than {IMAGE_MARK} marks ({counts})"
            raise DataError(what, do=f"put {IMAGE_MARK} where each image belongs")


def read_messages(turns: Any, media: Media, *, key: str = "messages") -> list[Message]:
    """The messages of a list of turns, each `{role, content}` or `{from, value}`. Raises:
    DataError.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, (str, bytes)) or not turns:
        raise DataError(f"{key} is {shown(turns)}", expected="a list of turns")
    return [_read_turn(turn, media, f"{key}[{number}]") for number, turn in enumerate(turns)]


def _read_turn(turn: Any, media: Media, place: str) -> Message:
    if not isinstance(turn, Mapping):
        raise DataError(f"{place} is {shown(turn)}", expected="{role, content}")
    if "role" in turn and "from" in turn:
        raise DataError(f"{place} has both role and from", do="keep one of the two")
    name = turn.get("role", turn.get("from"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        known = ", ".join(ROLES)
        raise DataError(f"{place} has the unknown role {shown(name)}", expected=f"one of {known}")
    if turn.get("tool_calls"):
        raise DataError(
            f"{place} has tool_calls, which are not read",
            do="write the call into the turn's content",
        )
    loss = turn.get("loss")
    if loss is not None and not isinstance(loss, bool):
        raise DataError(f"{place}.loss is {shown(loss)}", expected="true or false")
    if loss and role != "assistant":
        raise DataError(
            f"{place} asks for loss on a {role} turn", expected="loss on assistant turns only"
        )
    parts = read_parts(turn.get("content", turn.get("value")), media, place)
    if role in ("assistant", "user") and not any(
        isinstance(p, Image) or p.text.strip() for p in parts
    ):
        raise DataError(
            f"{place} is empty: the {role} says nothing", do="fill the turn, or remove the row"
        )
    return Message(role, parts, loss)


def read_parts(content: Any, media: Media, place: str) -> tuple[Part, ...]:
    """The parts of a turn's content: text with marks, or a list of blocks. Raises: DataError."""
    if isinstance(content, str):
        require_unicode(content, place)
        return _split(content, media)
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise DataError(
            f"{place} has {shown(content)} as content", expected="text or a list of blocks"
        )
    parts: list[Part] = []
    for block in content:
        parts.extend(_read_block(block, media, place))
    return tuple(parts)


def _read_block(block: Any, media: Media, place: str) -> tuple[Part, ...]:
    if isinstance(block, str):
        return _split(block, media)
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind == "text" and isinstance(block.get("text"), str):
        require_unicode(block["text"], place)
        return _split(block["text"], media)
    if kind == "image":
        stated = (block.get(key) for key in ("image", "path", "url"))
        return (media.mark(next((value for value in stated if value), None)),)
    if kind == "image_url" and block.get("image_url"):
        return (media.mark(block["image_url"]),)
    if kind in _OTHER_MEDIA:
        raise DataError(
            f"{place} holds a {kind} block, which is not read", expected="text and image blocks"
        )
    named = f"type {shown(kind)}" if isinstance(block, Mapping) else shown(block)
    raise DataError(
        f"{place} holds a block of {named}", expected="{type: text, text} or {type: image, image}"
    )


def _split(text: str, media: Media) -> tuple[Part, ...]:
    """The text between the marks, and the marks."""
    parts: list[Part] = []
    for number, piece in enumerate(_MARKS.split(text)):
        if number:
            parts.append(media.mark())
        if piece:
            parts.append(Text(piece))
    return tuple(parts) or (Text(""),)


def turn(role: Role, content: Any, media: Media, key: str) -> Message:
    """The turn of a content that is under `key`. Raises: DataError where it is empty or no text."""
    return _read_turn({"role": role, "content": content}, media, key)


def read_history(history: Any, media: Media) -> list[Message]:
    """The messages of earlier rounds, given as `[[question, answer], ...]`. Raises: DataError."""
    messages: list[Message] = []
    if not isinstance(history, Sequence) or isinstance(history, (str, bytes)):
        raise DataError(f"history is {shown(history)}", expected="[[question, answer], ...]")
    for number, pair in enumerate(history):
        if not isinstance(pair, Sequence) or isinstance(pair, (str, bytes)) or len(pair) != 2:
            raise DataError(f"history[{number}] is {shown(pair)}", expected="[question, answer]")
        messages.append(turn("user", pair[0], media, f"history[{number}][0]"))
        messages.append(turn("assistant", pair[1], media, f"history[{number}][1]"))
    return messages


def read_answer(text: Any, ids: Any, key: str) -> Answer:
    """The answer under `key`, with the token ids that a model sampled where the row has them.

    Only with token ids may the text be empty: a model may sample nothing but its end token. Raises:
    DataError.
    """
    if not isinstance(text, str):
        raise DataError(f"{key} is {shown(text)}", expected="text")
    token_ids = None
    if ids is not None:
        is_list = isinstance(ids, Sequence) and not isinstance(ids, (str, bytes)) and len(ids) > 0
        if not is_list or not all(type(token) is int and token >= 0 for token in ids):
            raise DataError(
                f"the token ids of {key} are {shown(ids)}", expected="a list of whole numbers"
            )
        token_ids = tuple(ids)
    require_unicode(text, key)
    if token_ids is None and not text.strip():
        raise DataError(f"{key} is empty", do="fill the answer, or remove the row")
    return Answer(text, token_ids)


def require_unicode(text: str, key: str) -> None:
    """Raises: DataError for half of a surrogate pair: JSON can hold it, no tokenizer reads it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{key} holds {text[error.start]!a}, half of a character",
            expected="Unicode text",
            do="fix the text, or remove the row",
        ) from None


def shown(value: Any) -> str:
    """A value as error messages show it: its text if it is short, else what kind of value it is.

    >>> shown(None), shown("cat"), shown([]), shown({"a": 1})
    ('missing', "'cat'", 'an empty list', 'a dict')
    """
    if value is None:
        return "missing"
    if isinstance(value, (str, int, float, bool)):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    kind = type(value).__name__
    is_empty = hasattr(value, "__len__") and len(value) == 0
    return f"an empty {kind}" if is_empty else f"a {kind}"
