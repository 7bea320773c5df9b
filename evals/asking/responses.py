"""The files of an evaluation: `responses.jsonl`, appended to as answers come, and its header; what
of them may be used again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from evals.data.sources import json_rows
from rl.errors import DataError, NoRunError

RESPONSES, HEADER = "responses.jsonl", "responses.header.json"
_SYNC_EVERY_S = 0.25


class Journal:
    """Appends rows to a JSONL file. A row is in the file when `append` returns, so that kill -9
    does not lose it; rows reach the disk together, every quarter of a second and at the end.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json_line(row))
        now = time.monotonic()
        if now - self._synced > _SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = now


def read_responses(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the rows of an evaluation's folder. Raises: NoRunError where there is none,
    DataError naming file and line where one is broken.
    """
    for file in (folder / HEADER, folder / RESPONSES):
        if not file.is_file():
            raise NoRunError("no responses", where=str(file), do="evaluate the stage first")
    again = "evaluate the stage again (its folder under evals/ removed)"
    rows: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    for line, row in json_rows(folder / RESPONSES):
        where = f"{folder / RESPONSES}:{line}"
        if "sample_id" not in row:
            raise DataError("no sample_id", where=where, expected="a response row", do=again)
        uid = str(row["sample_id"])
        if first.setdefault(uid, line) != line:
            raise DataError(
                f"sample_id {uid} stands on line {first[uid]} too",
                where=where,
                expected="one row a question",
                do=again,
            )
        rows.append(row)
    try:
        header = json.loads((folder / HEADER).read_bytes())
    except ValueError as error:
        raise DataError(f"no JSON: {error}", where=str(folder / HEADER), do=again) from error
    if not isinstance(header, dict):
        raise DataError("no header", where=str(folder / HEADER), expected="a mapping", do=again)
    return header, rows


def answered_before(file: Path, keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The rows, by sample id, that were answered under the same key. An error is no answer, and a
    last line that a crash tore is no row.
    """
    if not file.exists():
        return {}
    kept: dict[str, dict[str, Any]] = {}
    for line in file.read_bytes().decode("utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            continue
        uid = str(row.get("sample_id"))
        if uid in keys and row.get("key") == keys[uid] and not row.get("error"):
            kept[uid] = row
    return kept


def digest(value: Any) -> str:
    """Sixteen hex digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row of a JSONL file; text that UTF-8 cannot hold (a lone surrogate) is escaped."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSONL file whole or not at all."""
    replace_file(file, b"".join(map(json_line, rows)))


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Writes indented JSON, whole or not at all."""
    replace_file(file, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def replace_file(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(file)
