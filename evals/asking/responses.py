"""The files of an evaluation's folder: `responses.jsonl`, to which answers are appended as they
come, and its header. Nothing is scored here.

    responses.header.json    which model, benchmark and settings the answers belong to
    responses.jsonl          one row a question: the answer, its references, its key

A row's `key` is a hash of everything that decides its answer. Resuming reuses the rows whose key is
the one that would be asked now (`answered_before`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from evals.data.jsonl import json_rows
from rl.errors import DataError, EvalError, NoRunError

RESPONSES, HEADER = "responses.jsonl", "responses.header.json"
_SYNC_EVERY_S = 0.25
# What scoring, pairing and clustering need of every row; an evaluation writes them all.
_NEEDED = ("part", "cluster_id", "category")


class Journal:
    """Appends rows to a JSONL file so that a killed run loses no answer.

    with Journal(folder / RESPONSES) as journal:
        journal.append({"sample_id": "mme-00001", "response": "Yes"})  # survives kill -9 from here

    `append` hands the row to the operating system at once, which keeps it when this process dies.
    What survives a power cut is on the disk, to which rows are forced every quarter of a second
    and at the end: once a row would cost more time than a short answer.
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
        """Writes one row."""
        self._file.write(json_line(row))
        now = time.monotonic()
        if now - self._synced > _SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = now


def read_responses(
    folder: Path, on_torn: Callable[[str], None] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the rows of an evaluation's folder.

    A torn last line (the writer was killed) is left out, and `on_torn` gets a sentence about it; by
    default it goes to standard error. Raises: NoRunError where there is no evaluation, DataError
    naming file and line where a row is broken.
    """
    for file in (folder / HEADER, folder / RESPONSES):
        if not file.is_file():
            raise NoRunError("no responses", where=str(file), do="evaluate the stage first")
    again = "evaluate the stage again (its folder under evals/ removed)"
    rows: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    file = folder / RESPONSES
    for line, row in json_rows(file, on_torn=torn_notice(file, on_torn)):
        where = f"{file}:{line}"
        if "sample_id" not in row:
            raise DataError("no sample_id", where=where, expected="a response row", do=again)
        uid = str(row["sample_id"])
        if first.setdefault(uid, line) != line:
            raise DataError(
                f"sample_id {uid} is on line {first[uid]:,} too",
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


def torn_notice(file: Path, say: Callable[[str], None] | None = None) -> Callable[[int], None]:
    """The `on_torn` of `json_rows` for answers: `say` (by default standard error) gets a sentence
    that the line is left out.
    """

    def notice(line: int) -> None:
        text = (
            f"{file}:{line}: the last line was cut off while it was written; it is left out, and "
            "--resume asks its question again"
        )
        if say is None:
            print(text, file=sys.stderr)
        else:
            say(text)

    return notice


def require_needed(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raises: EvalError naming the first row without a part, a cluster or a category.

    Without its cluster a question cannot be resampled with the others about its image: taken for a
    cluster of its own it would make the interval too narrow, and all such questions in one cluster
    would make it meaningless.
    """
    for row in rows:
        for key in _NEEDED:
            if row.get(key) is None:
                raise EvalError(
                    f"answer {row['sample_id']} has no {key}",
                    where=where,
                    expected="what plumbline eval writes",
                    do="evaluate the stage again",
                )


def answered_before(file: Path, keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The rows, by sample id, that were answered under the same key.

    An error row is no answer, and a torn last line is no row: both questions are asked again.
    Raises: DataError naming the line where another one is broken.
    """
    if not file.exists():
        return {}
    kept: dict[str, dict[str, Any]] = {}
    for _, row in json_rows(file, on_torn=lambda line: None):  # nothing to say: it is asked again
        uid = str(row.get("sample_id"))
        if uid in keys and row.get("key") == keys[uid] and not row.get("error"):
            kept[uid] = row
    return kept


def digest(value: Any) -> str:
    """Sixteen hex digits that name a JSON value; the order of a mapping's keys plays no part.

    >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}), len(digest(None))
    (True, 16)
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row of a JSONL file; text that UTF-8 cannot hold (a lone surrogate) is escaped.

    >>> json_line({"response": "有"}).decode(), json_line({"response": "\\ud800"})
    ('{"response": "有"}\\n', b'{"response": "\\\\ud800"}\\n')
    """
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
    """Writes a file whole or not at all: beside it first, then renamed, which is atomic."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(file)
