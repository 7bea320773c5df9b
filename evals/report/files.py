"""The report's files: whole or not at all, and made again only when what they were made of
changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: the page may be open in a browser while it is written. Lone surrogates
    become question marks.
    """
    aside = path.with_name(f".{path.name}.writing")
    aside.write_bytes(text.encode("utf-8", "replace"))
    os.replace(aside, path)


def kept_or_made(path: Path, key: Sequence[Any], make: Callable[[], Any]) -> Any:
    """What the file keeps under this key, else what `make` returns, which is kept then. Both are
    JSON's values; `key` names everything that the value depends on.
    """
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if isinstance(found, dict) and found.get("key") == list(key) and "value" in found:
            return found["value"]
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"key": list(key), "value": value}, allow_nan=False))
    return value
