"""What decides that a row is bad, and what happens to it.

A row is bad when it cannot become a record of its algorithm:

- Its line is not UTF-8 or not a JSON object, or its cells do not fit the header (`rl.data.files`).
- Its keys mark no row format, or two of them (`rl.data.drafts`).
- A turn is empty or has an unknown role, or there are more image marks than images, or fewer
  (`rl.data.turns`).
- It lacks what the algorithm learns from: an answer, a rejected answer, a label (`rl.data.rows`).
- One of its images is missing, or the image's header cannot be read (`rl.data.images`).

Each of these files raises a DataError that says what is wrong; `record_or_fault` catches it, so
that one bad row never hides the next. When all rows have been read, before any engine starts,
`BadRows.finish` decides: `on_bad_row="stop"` stops at any bad row, `on_bad_row="skip"` leaves bad
rows out as long as they are at most `max_bad_rows` (a share) of all rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rl.data.images import HeaderCache
from rl.data.rows import Reading, Record, sample_of, to_record
from rl.data.sources import DataSource, Row
from rl.errors import DataError

OnBadRow = Literal["stop", "skip"]

_SHOWN = 10  # bad rows listed in the error; the others are in the file of rejects


@dataclass(frozen=True)
class Reject:
    """A bad row, and why it is bad."""

    file: str
    line: int
    uid: str
    reason: str


def record_or_fault(
    row: Row, reading: Reading, source: DataSource, base: Path, headers: HeaderCache
) -> Record | DataError:
    """The row's record, or the error that makes it a bad row.

    The images are opened as far as their headers and not decoded. Raises: ConfigError where the
    source itself is wrong (an unknown `format`), since that concerns every row.

    >>> row = Row("pairs.jsonl", 4, 3, {"prompt": "Who purrs?", "chosen": "A cat."})
    >>> source = DataSource(path="pairs.jsonl")
    >>> fault = record_or_fault(row, "preference", source, Path(), HeaderCache())
    >>> fault.what, fault.where
    ('the row has no rejected answer', 'pairs.jsonl:4 uid pairs:4')
    """
    where = row.where
    try:
        record = to_record(
            row,
            reading,
            None if source.image_root is None else base / source.image_root,
            format=source.format,
            allow_urls=source.allow_urls,
            base=base,
        )
        sample = sample_of(record)
        where = f"{row.where} uid {sample.uid}"
        for image in sample.images:
            headers.size(image)
    except DataError as error:
        return DataError(
            error.what,
            where=error.where or where,
            expected=error.expected,
            do=error.do or "fix or remove the row",
        )
    return record


class BadRows:
    """Gathers the bad rows of a load and decides whether the load may continue without them.

    bad = BadRows("skip", max_bad_rows=0.01, rejects=Path("rejects.jsonl"))
    bad.add(row, error)        # for every bad row
    bad.finish(num_rows=5000)  # writes rejects.jsonl; raises where more than 50 rows are bad
    """

    def __init__(
        self, on_bad_row: OnBadRow, max_bad_rows: float, rejects: Path | None = None
    ) -> None:
        self._on_bad_row, self._max_bad_rows, self._path = on_bad_row, max_bad_rows, rejects
        self._errors: list[DataError] = []
        self.rejects: list[Reject] = []

    def add(self, row: Row, error: DataError) -> None:
        """Keeps a bad row with its error."""
        self._errors.append(error)
        uid = error.where.partition(" uid ")[2]
        reason = DataError(error.what, expected=error.expected, do=error.do).line()
        self.rejects.append(Reject(row.file, row.line, uid, reason))

    def finish(self, num_rows: int) -> None:
        """Writes the file of rejects (a JSON object for each: file, line, uid, reason).

        Raises: DataError that lists the bad rows, where there are too many of `num_rows` rows.
        """
        if not self.rejects:
            return
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(vars(reject), ensure_ascii=True) for reject in self.rejects]
            self._path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        is_stopping = self._on_bad_row == "stop"
        if is_stopping or len(self.rejects) > self._max_bad_rows * num_rows:
            raise self._too_many(num_rows)

    def _too_many(self, num_rows: int) -> DataError:
        errors, is_stopping = self._errors, self._on_bad_row == "stop"
        if len(errors) == 1 and is_stopping:
            return errors[0]
        lines = [error.line() for error in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            place = f", all in {self._path}" if self._path is not None else ""
            lines.append(f"... and {len(errors) - _SHOWN} more{place}")
        allowed = "" if is_stopping else f" (allowed: {self._max_bad_rows:.2%})"
        head = f"{len(errors)} of {num_rows} rows are bad{allowed}:"
        return DataError("\n  ".join([head, *lines]))
