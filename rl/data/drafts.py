"""A row's keys -> a draft: the format found, its turns read, its images counted.

A format is a file of `rl/data/row_formats/`; the key that it names marks its rows. The keys of two
formats in one row are an error. Rows with only `chosen` and `rejected` hold the prompt inside.
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


@cache
def formats() -> Mapping[str, Any]:
    """Every format by its name; the most usual one first, as messages list them."""
    order = sorted(names(_FORMATS), key=lambda name: (name != "messages", name))
    return {name: find(_FORMATS, name) for name in order}


def converter_of(
    row: Row, format: str | None, base: Path | None
) -> Callable[[dict[str, Any]], Any] | None:
    """The function that makes a row of another format, or a record, of this one; None where the
    row is read as it stands. Raises: ConfigError where a user's own cannot be loaded.
    """
    if format is not None and is_own(format):
        function: Callable[[dict[str, Any]], Any] = load_attr(format, base)
        return function
    found = _marked(row.value) if format is None else [format]
    plugin = formats().get(found[0]) if len(found) == 1 else None
    return None if plugin is None or hasattr(plugin, "read") else _require_key(row, plugin)


def read_draft(row: Row, format: str | None) -> Draft:
    """The row's draft, in `format` or the one found. Raises: DataError without a place (the caller
    knows it); ConfigError for an unknown format.
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
    """The format that reads the row; None for a pair whose prompt is inside its two answers."""
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
            what = f"the format's function returned a row of {found[0]}, which has one itself"
            raise DataError(what, expected="a record, or a row that is read as it stands")
        return plugin
    if row.value.get("chosen") is not None:
        return None
    keys = ", ".join(map(str, row.value)) or "none"
    marks = ", ".join(plugin.key for plugin in formats().values())
    raise DataError(f"no known format (keys: {keys[:120]})", expected=f"one of {marks}")


def _marked(value: Mapping[str, Any]) -> list[str]:
    """The formats whose key the row gives a value."""
    return [name for name, plugin in formats().items() if value.get(plugin.key) is not None]


def _require_key(row: Row, plugin: Any) -> Any:
    if row.value.get(plugin.key) is None:
        raise DataError(f"the row has no {plugin.key}", expected=f"format {plugin.name}")
    return plugin


def _listed(value: Mapping[str, Any]) -> Sequence[Any]:
    """The row's images under `images` or `image`."""
    found = [value[key] for key in ("images", "image") if value.get(key) is not None]
    if len(found) > 1:
        raise DataError("the row has both image and images", do="keep one of the two")
    if not found:
        return ()
    listed = found[0]
    return listed if isinstance(listed, (list, tuple)) else (listed,)


def images_of(draft: Draft, image_root: Path | None, allow_urls: bool) -> tuple[ImageSource, ...]:
    """The images that the row's marks use, in their order; named, not opened."""
    draft.media.check()
    folder = Path(draft.row.file).parent
    return tuple(
        to_source(media, folder=folder, image_root=image_root, allow_urls=allow_urls)
        for media in draft.media.used
    )
