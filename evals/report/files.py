"""Writing the files of the report: a file is replaced whole, and what is computed from unchanged
answers is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_SAFE = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


def slug(name: str) -> str:
    """A folder's name for a benchmark: its own where that is plain, else made from it and a hash.

    >>> slug("mme"), slug("../x")
    ('mme', 'x-d6b96a97')
    """
    if _SAFE.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def write_text(path: Path, text: str) -> None:
    """Replaces the file whole: the page may be open in a browser meanwhile. Lone surrogates become
    question marks.
    """
    aside = path.with_name(f".{path.name}.writing")
    aside.write_bytes(text.encode("utf-8", "replace"))
    os.replace(aside, path)


def kept_or_made(path: Path, key: Sequence[Any], make: Callable[[], Any]) -> Any:
    """The value that the file keeps under this key, else what `make` returns, which is then kept.
    Values are JSON; `key` holds everything that the value depends on.
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


def write_script(path: Path, name: str, value: Any) -> None:
    """A data file: `plumbline(name, json)`."""
    write_text(path, f"plumbline({_literal(name)},{_literal(_json(value))})\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _literal(text: str) -> str:
    r"""A JavaScript string of ASCII text that cannot end its script element or start markup.

    >>> print(_literal("</script>'\\"))
    '\u003c/script\u003e\u0027\\'
    """
    text = text.replace("\\", "\\\\")
    for mark in "<>&'":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return f"'{text}'"
