"""Fingerprints of image files, kept in an SQLite file: each image is decoded once, however many
runs ask for it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.contamination.perceptual import Small
from rl.core import ImageSource
from rl.data.images import open_image
from rl.errors import DataError

_TABLE = "prints_1"  # raised when a fingerprint's meaning changes
_CELLS = 12
_CHUNK = 256


@dataclass(frozen=True)
class Print:
    """The fingerprint of one picture: the hash of its pixels, its perceptual hash (None for a
    picture of one colour) and its colours on a 12 x 12 grid.
    """

    pixels: bytes
    hash: int | None
    cells: bytes

    @property
    def grid(self) -> NDArray[np.float64]:
        """The colours as numbers from 0 to 255: [12, 12, 3]."""
        flat = np.frombuffer(self.cells, dtype=np.uint8)
        return flat.reshape(_CELLS, _CELLS, 3).astype(np.float64)


def print_of(image: ImageSource) -> Print:
    """The fingerprint of an image. Raises: DataError where it cannot be decoded."""
    opened = open_image(image)
    small = Small.of(opened)
    cells = np.rint(small.cells()).astype(np.uint8)
    return Print(_digest(opened)[:16], small.hash(), cells.tobytes())


def _digest(pixels: Any) -> bytes:
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}:".encode())
    digest.update(pixels.tobytes())
    return digest.digest()


class PrintStore:
    """Fingerprints by the SHA-256 of the encoded bytes, in an SQLite file; in memory without a
    path.

    store = PrintStore(root / ".cache" / "images.sqlite")
    for print in store.of(images): ...
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        self._base.execute(
            f"CREATE TABLE IF NOT EXISTS {_TABLE} "
            "(file BLOB PRIMARY KEY, pixels BLOB, hash BLOB, cells BLOB) WITHOUT ROWID"
        )

    def close(self) -> None:
        self._base.close()

    def of(self, images: Iterable[ImageSource]) -> Iterator[Print | None]:
        """Each image's fingerprint in order; None for one that cannot be decoded."""
        stream = iter(images)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while chunk := list(islice(stream, _CHUNK)):
                files = list(pool.map(_file_hash, chunk))
                known = self._read({file for file in files if file is not None})
                todo = {f: i for f, i in zip(files, chunk, strict=True) if f and f not in known}
                made = dict(zip(todo, pool.map(_print_or_none, todo.values()), strict=True))
                self._write({file: found for file, found in made.items() if found is not None})
                yield from (known.get(f) or made.get(f) if f else None for f in files)

    def _read(self, files: set[bytes]) -> dict[bytes, Print]:
        marks = ",".join("?" * len(files))
        rows = self._base.execute(
            f"SELECT file, pixels, hash, cells FROM {_TABLE} WHERE file IN ({marks})", list(files)
        )
        return {
            file: Print(pixels, None if hash is None else int.from_bytes(hash, "big"), cells)
            for file, pixels, hash, cells in rows
        }

    def _write(self, found: dict[bytes, Print]) -> None:
        rows = [
            (file, p.pixels, None if p.hash is None else p.hash.to_bytes(8, "big"), p.cells)
            for file, p in found.items()
        ]
        with self._base:
            self._base.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?)", rows)


def _file_hash(image: ImageSource) -> bytes | None:
    try:
        return bytes.fromhex(image.sha256)
    except OSError:
        return None


def _print_or_none(image: ImageSource) -> Print | None:
    try:
        return print_of(image)
    except DataError:
        return None
