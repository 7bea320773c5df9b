"""The rows of one data file: JSONL, JSON, CSV, TSV, Parquet or TXT, by its suffix.

A line that is broken becomes a row with an `error`; only a file that cannot be read at all raises.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
# Columns of a CSV file whose cells may hold a list or a mapping as JSON.
_JSON_CELLS = (
    "messages",
    "conversations",
    "images",
    "image",
    "references",
    "answers",
    "history",
    "chosen",
    "rejected",
    "objects",
)


@dataclass(frozen=True)
class Row:
    """One row of a data file."""

    file: str
    line: int  # from 1: the line of a text file, the row of a table
    index: int  # from 0: the number of the row in its source
    value: dict[str, Any] = field(default_factory=dict)
    copy: int = 0  # above 0: a repetition by the source's weight
    error: DataError | None = None  # why it cannot be parsed

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


def file_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises: DataError where it cannot be read, or its suffix is unknown."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path)
    readers = {
        ".json": _json_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".txt": _text_rows,
        ".jsonl": _jsonl_rows,
        ".ndjson": _jsonl_rows,
    }
    if suffix not in readers:
        raise DataError(
            f'files "{suffix or path.name}" are not read',
            where=str(path),
            expected=", ".join(SUFFIXES),
            do="convert it, or check the path",
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            do="check the path and its rights",
        ) from error
    return readers[suffix](path)


def _lines(path: Path) -> Iterator[tuple[int, str | DataError]]:
    """(number from 1, text) of each line, or an error for a line that is not UTF-8."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            except UnicodeDecodeError:
                yield number, DataError("is not UTF-8 text", do="save the file as UTF-8")
                continue
            yield number, text


def _jsonl_rows(path: Path) -> Iterator[Row]:
    index = 0
    for number, text in _lines(path):
        if isinstance(text, DataError):
            yield Row(str(path), number, index, error=text)
        elif not text.strip():
            continue
        else:
            yield _json_row(path, number, index, text)
        index += 1


def _json_row(path: Path, line: int, index: int, text: str) -> Row:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        fault = DataError(
            f"broken JSON: {error.msg} at column {error.colno}", do="fix or remove the line"
        )
        return Row(str(path), line, index, error=fault)
    except (ValueError, RecursionError) as error:
        return Row(
            str(path),
            line,
            index,
            error=DataError(f"broken JSON: {str(error)[:80]}", do="fix or remove the line"),
        )
    return _object_row(path, line, index, value)


def _object_row(path: Path, line: int, index: int, value: Any) -> Row:
    if not isinstance(value, dict):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        return Row(
            str(path),
            line,
            index,
            error=DataError(f"the row is {kind}", expected="a JSON object {...}"),
        )
    return Row(str(path), line, index, value)


def _json_rows(path: Path) -> Iterator[Row]:
    """The rows of a list of objects, of one object, of `{"data": [...]}`, or of one object on each
    line, as many files called .json are.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "is not UTF-8 text",
            where=str(path),
            do="save the file as UTF-8",
        ) from error
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":
            yield from _jsonl_rows(path)
            return
        raise DataError(
            f"broken JSON: {error.msg} at column {error.colno}",
            where=f"{path}:{error.lineno}",
            do="fix the file",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"broken JSON: {str(error)[:80]}",
            where=str(path),
            do="fix the file",
        ) from error
    if isinstance(value, dict):
        inner = value.get("data")
        if set(value) != {"data"} or not isinstance(inner, list):
            yield _object_row(path, 1, 0, value)
            return
        for index, item in enumerate(inner):
            yield _object_row(path, index + 1, index, item)
        return
    if not isinstance(value, list):
        raise DataError(
            "the file holds no list of rows",
            where=str(path),
            expected="[{...}, ...]",
            do="write a list of rows, or JSON Lines",
        )
    decoder, place, line = json.JSONDecoder(), text.index("[") + 1, 1
    line += text.count("\n", 0, place)
    for index, item in enumerate(value):
        start = _skip(text, place)
        line += text.count("\n", place, start)
        _, place = decoder.raw_decode(text, start)
        yield _object_row(path, line, index, item)
        line += text.count("\n", start, place)


def _skip(text: str, place: int) -> int:
    while text[place] in " \t\r\n,":
        place += 1
    return place


def _csv_rows(path: Path) -> Iterator[Row]:
    """The rows after the header line. An empty cell is an absent key, a cell of `_JSON_CELLS` may
    be JSON, and `label` is true or false.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "is not UTF-8 text",
            where=str(path),
            do="save the file as UTF-8",
        ) from error
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
    )
    header: list[str] | None = None
    index, start = 0, 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                continue
            yield _csv_row(path, line, index, header, cells)
            index += 1
    except csv.Error as error:
        raise DataError(
            f"broken CSV: {error}",
            where=f"{path}:{reader.line_num}",
            do="fix the line",
        ) from error


def _csv_row(path: Path, line: int, index: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        fault = DataError(
            f"{len(cells)} cells",
            expected=f"{len(header)} as in the header",
            do="quote cells that hold commas",
        )
        return Row(str(path), line, index, error=fault)
    value: dict[str, Any] = {}
    for key, cell in zip(header, cells, strict=True):
        if not cell:
            continue
        value[key] = cell
        if key in _JSON_CELLS and cell.lstrip()[:1] in ("[", "{"):
            try:
                value[key] = json.loads(cell)
            except (ValueError, RecursionError):
                return Row(
                    str(path),
                    line,
                    index,
                    error=DataError(f"cell {key} is broken JSON", do="fix or remove the line"),
                )
        elif key == "label" and cell.strip().lower() in ("true", "false"):
            value[key] = cell.strip().lower() == "true"
    return Row(str(path), line, index, value)


def _text_rows(path: Path) -> Iterator[Row]:
    """A row `{"text": line}` for each line that is not empty."""
    index = 0
    for number, text in _lines(path):
        if isinstance(text, DataError):
            yield Row(str(path), number, index, error=text)
        elif text.strip():
            yield Row(str(path), number, index, {"text": text})
        else:
            continue
        index += 1


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    index = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for value in batch.to_pylist():
                yield Row(str(path), index + 1, index, value)
                index += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"is no readable Parquet file: {' '.join(str(error).split())[:120]}",
            where=str(path),
            do="fetch or write it again",
        ) from error
