"""Benchmark data as it lies on disk or on the hub: parquet in the hub's schema, JSONL with image
paths, folders of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rl.core import ImageSource
from rl.errors import DataError

_BATCH = 256


@dataclass(frozen=True)
class Table:
    """One file (or hub split) of rows. `part` where the file's name states it."""

    origin: str
    part: Literal["select", "report"] | None
    is_hub: bool
    folder: Path | None
    data: Any  # a pyarrow table, a hub data set, or a list of rows

    def __len__(self) -> int:
        return len(self.data)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows as dicts, images still encoded."""
        if hasattr(self.data, "to_batches"):
            for batch in self.data.to_batches(max_chunksize=_BATCH):
                yield from batch.to_pylist()
        else:
            yield from self.data

    def image(self, row: Mapping[str, Any]) -> ImageSource:
        """The row's image: encoded bytes (the hub's schema), or a path relative to the file.
        Raises: DataError.
        """
        value = row.get("image")
        if isinstance(value, Mapping):
            if value.get("bytes"):
                return ImageSource(data=bytes(value["bytes"]))
            value = value.get("path")
        if isinstance(value, bytes) and value:
            return ImageSource(data=value)
        if isinstance(value, str) and value:
            path = Path(value)
            path = path if path.is_absolute() or self.folder is None else self.folder / path
            if not path.is_file():
                raise DataError(f"no image {path}")
            return ImageSource(path=str(path))
        raise DataError("no image", expected="encoded bytes or a path in column image")


def read_table(
    path: str | Path, benchmark: str, columns: Sequence[str], hub_ids: Mapping[str, str]
) -> list[Table]:
    """The tables at a file, a folder or a hub id, columns checked.

    Raises: DataError naming the file: missing, unreadable, empty, or without a column that the
    benchmark needs.
    """
    local = Path(path).expanduser()
    if local.is_file():
        tables = [_read_file(local, named_parts=False)]
    elif local.is_dir():
        tables = _read_folder(local)
    elif str(path) in hub_ids:
        tables = [_read_hub(str(path), hub_ids[str(path)])]
    else:
        raise DataError(
            f"no file or folder {path}",
            where=f"benchmark {benchmark}",
            expected=f"a parquet or JSONL file, a folder of them, or one of {', '.join(hub_ids)}",
        )
    for table in tables:
        _require_columns(table, benchmark, columns)
    return tables


def _read_folder(folder: Path) -> list[Table]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".parquet", ".jsonl"))
    if not files:
        raise DataError("no parquet or JSONL file", where=str(folder))
    named = [_part_named(file, folder) is not None for file in files]
    if any(named) and not all(named):
        stray = files[named.index(False)]
        raise DataError(
            f"{stray.name} beside select and report files",
            where=str(folder),
            expected="every file named select* or report*, or none",
        )
    return [_read_file(file, named_parts=True, root=folder) for file in files]


def _part_named(file: Path, root: Path) -> Literal["select", "report"] | None:
    for name in file.relative_to(root).parts:
        if name.startswith("select"):
            return "select"
        if name.startswith("report"):
            return "report"
    return None


def _read_file(file: Path, *, named_parts: bool, root: Path | None = None) -> Table:
    part = _part_named(file, root or file.parent) if named_parts else None
    data = _read_parquet(file) if file.suffix == ".parquet" else _read_jsonl(file)
    return Table(str(file), part, False, file.parent, data)


def _read_parquet(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"cannot be read: {' '.join(str(error).split())[:200]}", where=str(file)
        ) from error


def _read_jsonl(file: Path) -> list[dict[str, Any]]:
    return [row for _, row in json_rows(file)]


def json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank. Raises: DataError naming file:line."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=str(file)) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file)) from error
    # Not splitlines: JSON text may hold U+2028 and kin, which are no line ends in JSONL.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"no JSON: {error}", where=f"{file}:{number}") from error
        if not isinstance(row, dict):
            raise DataError(
                f"a {type(row).__name__}", where=f"{file}:{number}", expected="a JSON object"
            )
        yield number, row


def _read_hub(hub_id: str, split: str) -> Table:
    """unverified: no hub was reachable where this was written; names, splits and columns are from
    data cards.
    """
    try:
        import datasets
        from huggingface_hub import HfApi

        revision = str(HfApi().dataset_info(hub_id).sha)
        data = datasets.load_dataset(hub_id, split=split, revision=revision)
        data = data.cast_column("image", datasets.Image(decode=False))
    except ImportError as error:
        raise DataError(
            f"{hub_id} needs the package datasets", do="pip install datasets, or give a path"
        ) from error
    except Exception as error:  # the hub's errors have no common class
        raise DataError(
            f"cannot be loaded from the hub: {' '.join(str(error).split())[:200]}",
            where=hub_id,
            do="check the connection, or download it and give its path",
        ) from error
    return Table(f"{hub_id}@{revision}", None, True, None, data)


def _require_columns(table: Table, benchmark: str, columns: Sequence[str]) -> None:
    if len(table) == 0:
        raise DataError("no rows", where=table.origin)
    names = getattr(table.data, "column_names", None) or list(table.data[0])
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(
            f"no column {', '.join(missing)}",
            where=table.origin,
            expected=f"{', '.join(columns)} (benchmark {benchmark}); it has {', '.join(names)}",
        )
