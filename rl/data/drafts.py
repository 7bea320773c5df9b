"""A row -> a draft: finds the row's format, and reads its turns and images.

Each format is a file of `rl/data/row_formats/` and names the key that marks its rows: `messages`,
`conversations`, `prompt`, ... A row with the keys of two formats is bad, since it would have two
prompts. A row without any of these keys is accepted if it has `chosen`: then both answers hold the
prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rl.core import ImageSource, Message
from rl.data.images import to_source
from rl.data.sources import Row
from rl.data.turns import Media
from rl.errors import ConfigError, DataError
from rl.plugins import did_you_mean, find, is_own, load_attr, names

_FORMATS = "rl.data.row_formats"
# Columns that would change the prompt and that no format reads: such a row is bad.
_UNREAD = ("videos", "video", "audios", "audio", "rejected_images", "objects", "tools")


@dataclass
class Draft:
    """A row that is half read: the prompt's messages and images, before a reading makes a record.

    A format's `read(draft)` fills `messages` by the row's keys. What it takes with `take` is not
    kept in the record's `meta`.
    """

    row: Row
    media: Media
    messages: list[Message] = field(default_factory=list)
    final: Message | None = None  # the last assistant turn, which is not among the messages
    taken: set[str] = field(default_factory=set)  # keys that have been read
    has_text_prompt: bool = False  # whether the prompt is one text and not turns

    def take(self, key: str) -> Any:
        """The value under the key (None without it), which is then not kept in `meta`."""
        self.taken.add(key)
        return self.row.value.get(key)

    def has(self, key: str) -> bool:
        """Whether the row has a value under the key."""
        return self.row.value.get(key) is not None


@cache
def formats() -> Mapping[str, Any]:
    """Every format by its name. The most common one is first, as error messages list them so."""
    order = sorted(names(_FORMATS), key=lambda name: (name != "messages", name))
    return {name: find(_FORMATS, name) for name in order}


def converter_of(
    row: Row, format: str | None, base: Path | None
) -> Callable[[dict[str, Any]], Any] | None:
    """The row's format, if it is a function that returns a record or a row of another format; None
    for the other formats. Raises: ConfigError where a user's own function cannot be loaded.
    """
    if format is not None and is_own(format):
        function: Callable[[dict[str, Any]], Any] = load_attr(format, base)
        return function
    found = _marked(row.value) if format is None else [format]
    plugin = formats().get(found[0]) if len(found) == 1 else None
    return None if plugin is None or hasattr(plugin, "read") else _require_key(row, plugin)


def read_draft(row: Row, format: str | None) -> Draft:
    """The row's draft, by `format` or by the format whose key it has.

    Raises: DataError without a place, which the caller adds; ConfigError for an unknown format.
    """
    for key in _UNREAD:
        if row.value.get(key):
            raise DataError(f"the row holds {key}, which is not read", expected="text and images")
    draft = Draft(row, Media(_listed(row.value)), taken={"uid", "id", "image", "images"})
    plugin = _format(row, format)
    if plugin is not None:
        plugin.read(draft)
    if draft.messages and draft.messages[-1].role == "assistant":
        draft.final = draft.messages.pop()
    return draft


def _format(row: Row, format: str | None) -> Any:
    """The format that reads the row; None for a pair whose answers hold the prompt."""
    if format is not None:
        if format not in formats():
            hint = did_you_mean(format, formats())
            raise ConfigError(
                f'unknown format "{format}"{hint} ({", ".join(formats())}, ./file.py:function)',
                do="name one of these, or leave `format:` out",
            )
        return _require_key(row, formats()[format])
    found = _marked(row.value)
    if len(found) > 1:
        keys = " and ".join(formats()[name].key for name in found)
        what = f"the row has the keys of {len(found)} formats: {keys}"
        raise DataError(what, do="remove all but one, or set `format:` on the source")
    if found:
        plugin = formats()[found[0]]
        if not hasattr(plugin, "read"):
            what = f"the format's function returned a row of {found[0]}, which is a function too"
            raise DataError(what, expected="a record, or a row of a format that is no function")
        return plugin
    if row.value.get("chosen") is not None:
        return None
    keys = ", ".join(map(str, row.value)) or "none"
    marks = ", ".join(plugin.key for plugin in formats().values())
    raise DataError(f"no known format (keys: {keys[:120]})", expected=f"one of {marks}")


def _marked(value: Mapping[str, Any]) -> list[str]:
    """The formats under whose key the row has a value."""
    return [name for name, plugin in formats().items() if value.get(plugin.key) is not None]


def _require_key(row: Row, plugin: Any) -> Any:
    if row.value.get(plugin.key) is None:
        raise DataError(f"the row has no {plugin.key}", expected=f"format {plugin.name}")
    return plugin


def _listed(value: Mapping[str, Any]) -> Sequence[Any]:
    """The row's list of images, under `images` or `image`. Raises: DataError where it has both."""
    found = [value[key] for key in ("images", "image") if value.get(key) is not None]
    if len(found) > 1:
        raise DataError("the row has both image and images", do="keep one of the two")
    if not found:
        return ()
    listed = found[0]
    return listed if isinstance(listed, (list, tuple)) else (listed,)


def images_of(draft: Draft, image_root: Path | None, allow_urls: bool) -> tuple[ImageSource, ...]:
    """The images in the order of the row's marks; named, not opened. Raises: DataError where images
    and marks do not match.
    """
    draft.media.check()
    folder = Path(draft.row.file).parent
    return tuple(
        to_source(media, folder=folder, image_root=image_root, allow_urls=allow_urls)
        for media in draft.media.used
    )
