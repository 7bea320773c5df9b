"""JSON Lines files: the one reader that evaluation uses for data, answers and judgements.

A program that is killed while it writes leaves a torn last line: it begins like a row, and its end
and its newline are missing. Such a line is no row. What was written before it is whole, so a reader
that expects to meet a file in that state says so (`on_torn`) and gets every other row; the question
of the torn line is asked again on resume. A broken line anywhere else is an error with its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rl.errors import DataError


def json_rows(
    file: Path, *, on_torn: Callable[[int], None] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank.

    `on_torn` gets the number of a torn last line, which is left out; without it, that line is an
    error like any other. Raises: DataError naming file:line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "responses.jsonl"
    ...     _ = file.write_text('{"sample_id": "a"}\\n\\n{"sample_id": "b"}\\n{"sample_i')
    ...     list(json_rows(file, on_torn=lambda line: print(f"line {line} is torn")))
    line 4 is torn
    [(1, {'sample_id': 'a'}), (3, {'sample_id': 'b'})]
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}",
            where=str(file),
            expected="a JSON Lines file",
            do="check the path",
        ) from error
    # Not splitlines: JSON text may hold U+2028 and others, which do not end a line of JSONL.
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _row(line, f"{file}:{number}")
        except DataError:
            # A file that ends in a newline splits into a blank last element, so its last line is
            # not `lines[-1]`. Whatever does not even begin like a row was never one.
            is_torn = number == len(lines) and line.startswith(b"{")
            if is_torn and on_torn is not None:
                on_torn(number)
                return
            raise
        yield number, row


def remove_torn_end(file: Path) -> None:
    """Cuts a file behind its last newline."""
    with file.open("r+b") as opened:
        opened.truncate(opened.read().rfind(b"\n") + 1)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(
            "is not UTF-8 text",
            where=where,
            expected="JSON Lines: a JSON object a line",
            do="save it as UTF-8, or check the path",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"no JSON: {error}",
            where=where,
            expected="a JSON object",
            do="fix or remove the line",
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f"a {type(row).__name__}",
            where=where,
            expected="a JSON object, {...}",
            do="fix or remove the line",
        )
    return row
