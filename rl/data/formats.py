"""Sources -> checked records. Every row is read, its image headers too, before anything heavy
starts, and all bad rows are told. How one row becomes a record stands in `rl.data.rows`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rl.data.images import HeaderCache
from rl.data.rows import Reading, Record, sample_of, to_record, with_sample
from rl.data.sources import DataSource, Row, read_rows
from rl.errors import DataError

__all__ = [
    "Loaded",
    "OnBadRow",
    "Reading",
    "Record",
    "Reject",
    "load",
    "load_records",
    "sample_of",
    "to_record",
    "with_sample",
    "write_rejects",
]

OnBadRow = Literal["stop", "skip"]
_SHOWN = 10
_DO = "mend or remove the row"


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, and why."""

    file: str
    line: int
    uid: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """The accepted records, the rejected rows, and how many rows were read."""

    records: list[Record]
    rejects: list[Reject]
    num_rows: int


def load_records(
    sources: Sequence[DataSource],
    reading: Reading,
    *,
    base: Path,
    on_bad_row: OnBadRow = "stop",
    max_bad_rows: float = 0.01,
    rejects: Path | None = None,
    seed: int = 0,
) -> list[Any]:
    """The records of all sources, each accepted row once (times its source's weight), in the
    sources' order.

    `reading` decides what they are: Sample (sft, group), Preference or Labelled.
    Bad rows are listed in the file `rejects` with their reasons. They stop the load, or with
    `on_bad_row="skip"` are dropped while they are at most `max_bad_rows` of all; no other row takes
    their place. Raises: DataError, ConfigError.
    """
    return load(
        sources,
        reading,
        base=base,
        on_bad_row=on_bad_row,
        max_bad_rows=max_bad_rows,
        rejects=rejects,
        seed=seed,
    ).records


def load(
    sources: Sequence[DataSource],
    reading: Reading,
    *,
    base: Path,
    on_bad_row: OnBadRow = "stop",
    max_bad_rows: float = 0.01,
    rejects: Path | None = None,
    seed: int = 0,
) -> Loaded:
    """As `load_records`, with the rejected rows beside the records."""
    if not sources:
        raise DataError(
            "no data source",
            expected="at least one `- {path: ...}`",
            do="add one to the stage's `data`",
        )
    records: list[Record] = []
    bad: list[DataError] = []
    listed: list[Reject] = []
    num_rows, headers = 0, HeaderCache()
    for source in sources:
        root = base / source.image_root if source.image_root is not None else None
        first: dict[int, Record | DataError] = {}
        for row in read_rows(source, base, seed=seed):
            num_rows += 1
            made = first.get(row.index)
            if made is None:
                made = first[row.index] = _convert(row, reading, source, root, base, headers)
                if isinstance(made, DataError):
                    bad.append(made)
                    listed.append(_reject(row, made))
            if not isinstance(made, DataError):
                records.append(made)
    if rejects is not None and listed:
        write_rejects(rejects, listed)
    if bad and (on_bad_row == "stop" or len(bad) > max_bad_rows * num_rows):
        raise _too_many(bad, num_rows, on_bad_row, max_bad_rows, rejects)
    if not records:
        raise DataError(
            "no row is left",
            where=str(sources[0].path),
            expected="at least one good row",
            do="mend the rows",
        )
    return Loaded(_unique(records), listed, num_rows)


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """Writes one JSON object a bad row: file, line, uid, reason."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(vars(reject), ensure_ascii=True) for reject in rejects)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _convert(
    row: Row,
    reading: Reading,
    source: DataSource,
    root: Path | None,
    base: Path,
    headers: HeaderCache,
) -> Record | DataError:
    try:
        record = to_record(
            row, reading, root, format=source.format, allow_urls=source.allow_urls, base=base
        )
    except DataError as error:
        do = error.do or _DO
        return DataError(error.what, where=error.where, expected=error.expected, do=do)
    sample = sample_of(record)
    for image in sample.images:
        try:
            headers.size(image)
        except DataError as error:
            where = f"{row.where} uid {sample.uid}"
            do = error.do or _DO
            return DataError(error.what, where=where, expected=error.expected, do=do)
    return record


def _reject(row: Row, error: DataError) -> Reject:
    uid = error.where.partition(" uid ")[2]
    return Reject(
        row.file, row.line, uid, DataError(error.what, expected=error.expected, do=error.do).line()
    )


def _too_many(
    bad: Sequence[DataError],
    num_rows: int,
    on_bad_row: OnBadRow,
    max_bad_rows: float,
    rejects: Path | None,
) -> DataError:
    if len(bad) == 1 and on_bad_row == "stop":
        return bad[0]
    allowed = "" if on_bad_row == "stop" else f" (allowed: {max_bad_rows:.2%})"
    lines = [error.line() for error in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(
            f"... and {len(bad) - _SHOWN} more"
            + (f", all in {rejects}" if rejects is not None else "")
        )
    return DataError("\n  ".join([f"{len(bad)} of {num_rows} rows are bad{allowed}:", *lines]))


def _unique(records: Sequence[Record]) -> list[Record]:
    """Gives a repeated uid a suffix: `a`, `a~2`, `a~3`. A uid names one sample everywhere."""
    taken = {sample_of(record).uid for record in records}
    seen: set[str] = set()
    count: dict[str, int] = {}
    result: list[Record] = []
    for record in records:
        sample = sample_of(record)
        uid = sample.uid
        if uid in seen:
            number = count.get(uid, 1)
            while True:
                number += 1
                if f"{uid}~{number}" not in taken:
                    break
            count[uid] = number
            record = with_sample(record, replace(sample, uid=f"{uid}~{number}"))
            taken.add(f"{uid}~{number}")
        seen.add(uid)
        result.append(record)
    return result
