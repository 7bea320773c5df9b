"""A row's keys -> a draft: the format found, its turns read, its images counted.

Formats, by the key that marks them: `messages`, `conversations` (LLaVA, ShareGPT), `text` (with
`image`: image + text + answer; alone: a prompt), `instruction` (alpaca), `query`, `prompt`,
`question`, or only `chosen` and `rejected` with the prompt inside. The keys of two formats in one
row are an error. In the flat formats an image without a mark stands before the question; in turns
every image needs its mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl.core import ImageSource, Message
from rl.data.images import to_source
from rl.data.sources import Row
from rl.data.turns import Media, read_history, read_messages, turn
from rl.errors import ConfigError, DataError
from rl.plugins import did_you_mean

# Format name -> the key that marks it.
MARKS = {
    "messages": "messages",
    "conversations": "conversations",
    "image_text": "text",
    "alpaca": "instruction",
    "query": "query",
    "prompt": "prompt",
    "question": "question",
}
_UNREAD = ("videos", "video", "audios", "audio", "rejected_images", "objects", "tools")


@dataclass
class Draft:
    """A row on its way: the prompt's messages, the answer that the row itself ends with, and which
    keys were taken.
    """

    row: Row
    media: Media
    messages: list[Message] = field(default_factory=list)
    final: Message | None = None  # the last assistant turn, taken off the messages
    taken: set[str] = field(default_factory=set)
    has_text_prompt: bool = False  # a text and nothing before it, not turns

    def take(self, key: str) -> Any:
        """The value under the key, which then is no meta."""
        self.taken.add(key)
        return self.row.value.get(key)

    def has(self, key: str) -> bool:
        """Whether the row gives the key a value."""
        return self.row.value.get(key) is not None


def read_draft(row: Row, format: str | None) -> Draft:
    """The row's draft, in `format` or the one found. Raises: DataError without a place (the caller
    knows it); ConfigError for an unknown format.
    """
    for key in _UNREAD:
        if row.value.get(key):
            raise DataError(f"the row holds {key}, which is not read", expected="text and images")
    draft = Draft(row, Media(_listed(row.value)), taken={"uid", "id", "image", "images"})
    name = _format_name(draft, format)
    if name in ("messages", "conversations"):
        draft.messages = read_messages(draft.take(name), draft.media, key=name)
    elif name != "pair":
        _flat(draft, name)
    if draft.messages and draft.messages[-1].role == "assistant":
        draft.final = draft.messages.pop()
    return draft


def _format_name(draft: Draft, format: str | None) -> str:
    if format is not None:
        if format not in MARKS:
            hint = did_you_mean(format, MARKS)
            raise ConfigError(
                f'unknown format "{format}"{hint} ({", ".join(MARKS)}, ./file.py:function)',
                do="name one of these, or leave `format:` out",
            )
        if not draft.has(MARKS[format]):
            raise DataError(f"the row has no {MARKS[format]}", expected=f"format {format}")
        return format
    found = [name for name, key in MARKS.items() if draft.has(key)]
    if len(found) > 1:
        keys = " and ".join(MARKS[name] for name in found)
        what = f"the row has the keys of {len(found)} formats: {keys}"
        raise DataError(what, do="remove all but one, or set `format:` on the source")
    if found:
        return found[0]
    if draft.has("chosen"):
        return "pair"
    keys = ", ".join(map(str, draft.row.value)) or "none"
    raise DataError(
        f"no known format (keys: {keys[:120]})", expected=f"one of {', '.join(MARKS.values())}"
    )


def _listed(value: Mapping[str, Any]) -> Sequence[Any]:
    """The row's images under `images` or `image`."""
    found = [value[key] for key in ("images", "image") if value.get(key) is not None]
    if len(found) > 1:
        raise DataError("the row has both image and images", do="keep one of the two")
    if not found:
        return ()
    listed = found[0]
    return listed if isinstance(listed, (list, tuple)) else (listed,)


def _flat(draft: Draft, name: str) -> None:
    """The formats without turns: a question, its history and system, and perhaps an answer under
    its own key.
    """
    media, content = draft.media, draft.take(MARKS[name])
    if isinstance(content, (list, tuple)) and name in ("image_text", "prompt"):
        draft.messages = read_messages(content, media, key=MARKS[name])
    else:
        if draft.has("system"):
            draft.messages.append(turn("system", draft.take("system"), media, "system"))
        if draft.has("history"):
            draft.messages += read_history(draft.take("history"), media)
        if name == "alpaca" and isinstance(extra := draft.take("input"), str) and extra.strip():
            content = f"{content}\n{extra}" if isinstance(content, str) else content
        draft.has_text_prompt = isinstance(content, str) and not draft.messages
        draft.messages.append(turn("user", content, media, MARKS[name]))
    if media.num_marks == 0 and media.listed:
        _mark_front(draft)


def _mark_front(draft: Draft) -> None:
    """Puts the images before the first user turn's text."""
    marks = tuple(draft.media.mark() for _ in draft.media.listed)
    for place, message in enumerate(draft.messages):
        if message.role == "user":
            draft.messages[place] = replace(message, parts=(*marks, *message.parts))
            return


def images_of(draft: Draft, image_root: Path | None, allow_urls: bool) -> tuple[ImageSource, ...]:
    """The images that the row's marks use, in their order; named, not opened."""
    draft.media.check()
    folder = Path(draft.row.file).parent
    return tuple(
        to_source(media, folder=folder, image_root=image_root, allow_urls=allow_urls)
        for media in draft.media.used
    )
