"""Loads a stage's data: sources -> checked records.

Every row is read, and the header of each of its images, before anything heavy starts.
`rl.data.sources` finds the rows, `rl.data.rows` makes a record of each, and `rl.data.bad_rows`
decides what is a bad row and when there are too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rl.data.bad_rows import BadRows, OnBadRow, Reject, record_or_fault
from rl.data.images import HeaderCache
from rl.data.rows import Reading, Record, sample_of, with_sample
from rl.data.sources import DataSource, read_rows
from rl.errors import DataError


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
    """The records of all sources, in the order of the sources.

    Each good row gives one record, multiplied by its source's `weight`. `reading` is the
    algorithm's and says of which class they are: Sample, Preference or Labelled (see `to_record`).
    Bad rows are listed in the file `rejects` with their reasons; no other row takes their place.

        pairs = load_records([DataSource(path="pairs.jsonl")], "preference", base=Path("."))

    Raises: DataError for a source that is missing or empty and for too many bad rows, as
    `rl.data.bad_rows` says; ConfigError for a source that is described wrongly.
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
    """As `load_records`, with the rejected rows and the number of rows beside the records."""
    if not sources:
        raise DataError(
            "no data source",
            expected="at least one `- {path: ...}`",
            do="add one to the stage's `data`",
        )
    records: list[Record] = []
    bad = BadRows(on_bad_row, max_bad_rows, rejects)
    num_rows, headers = 0, HeaderCache()
    for source in sources:
        # `weight` repeats rows: a row is read once, and reported once where it is bad.
        known: dict[int, Record | DataError] = {}
        for row in read_rows(source, base, seed=seed):
            num_rows += 1
            if row.index not in known:
                known[row.index] = record_or_fault(row, reading, source, base, headers)
                if isinstance(fault := known[row.index], DataError):
                    bad.add(row, fault)
            if not isinstance(record := known[row.index], DataError):
                records.append(record)
    bad.finish(num_rows)
    if not records:
        raise DataError(
            "no row is left",
            where=str(sources[0].path),
            expected="at least one good row",
            do="fix the rows",
        )
    return Loaded(_unique(records), bad.rejects, num_rows)


def _unique(records: Sequence[Record]) -> list[Record]:
    """The records with a suffix on every repeated uid: `a`, `a~2`, `a~3`.

    A group of completions is keyed by its uid, so two samples must never share one. A suffix that
    another row already has as its own uid is not used.
    """
    taken = {sample_of(record).uid for record in records}
    seen: set[str] = set()
    last_suffix: dict[str, int] = {}
    result: list[Record] = []
    for record in records:
        sample = sample_of(record)
        uid = sample.uid
        if uid in seen:
            number = last_suffix.get(uid, 1) + 1
            while f"{uid}~{number}" in taken:
                number += 1
            last_suffix[uid] = number
            record = with_sample(record, replace(sample, uid=f"{uid}~{number}"))
            taken.add(f"{uid}~{number}")
        seen.add(uid)
        result.append(record)
    return result
