"""Reads benchmark data: parquet in the hub's schema, JSONL with image paths, folders of them,
downloaded hub repositories, and the hub itself.

    for table in read_table("data/pope", "pope", (("question", "answer"),), {}):
        for row in table.rows():
            images = table.images(row, ("image",))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evals.data.jsonl import json_rows
from evals.data.layout import HubData, HubOrigin, choose_files, part_named
from rl.core import ImageSource
from rl.errors import DataError, errors_as

_BATCH = 256


class MissingImage(DataError):
    """A row's image is missing. It costs that row, which becomes an error row; other broken data
    ends the load.
    """


@dataclass(frozen=True)
class Table:
    """One file of rows, or one split of a hub repository.

    `part` is set where the file's name states it, `config` where the hub's layout does. Where the
    images are in a configuration of their own, `images_by_id` holds them and `image_key` is the
    rows' column that names them.
    """

    origin: str
    part: Literal["select", "report"] | None
    is_hub: bool
    folder: Path | None
    data: Any  # a ParquetFile, a hub data set, or a list of rows
    config: str = ""
    image_key: str = ""
    images_by_id: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[int] = ()  # the rows' line numbers, for JSONL

    def place(self, number: int) -> str:
        """Where a row (from 0) is: `file:line`, or `file row n` for data without lines."""
        if number < len(self.lines):
            return f"{self.origin}:{self.lines[number]}"
        return f"{self.origin} row {number}"

    def __len__(self) -> int:
        metadata = getattr(self.data, "metadata", None)
        return len(self.data) if metadata is None else int(metadata.num_rows)

    @property
    def column_names(self) -> list[str]:
        """The columns; for JSONL, those that any row has."""
        if hasattr(self.data, "schema_arrow"):
            return list(self.data.schema_arrow.names)
        if hasattr(self.data, "column_names"):
            return list(self.data.column_names)
        return list(dict.fromkeys(key for row in self.data for key in row))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows, images still encoded; parquet is read batch by batch. Raises: DataError."""
        if hasattr(self.data, "iter_batches"):
            yield from _parquet_rows(self.data, self.origin)
        elif self.is_hub:
            yield from _hub_rows(self.data)
        else:
            yield from self.data

    def images(
        self, row: Mapping[str, Any], columns: Sequence[str], *, are_optional: bool = False
    ) -> tuple[ImageSource, ...]:
        """The row's images in the columns' order. A column holds encoded bytes (the hub's schema)
        or a path relative to the file. The first column must hold an image unless `are_optional`;
        the others may be empty.

        Raises: MissingImage.
        """
        images = []
        for number, column in enumerate(columns):
            value = row.get(column)
            if value is None and self.images_by_id:
                value = self.images_by_id.get(str(row.get(self.image_key)))
            image = self._image(value)
            if image is not None:
                images.append(image)
            elif number == 0 and not are_optional:
                raise MissingImage(
                    "no image",
                    where="a row's images",
                    expected=f"encoded bytes, or a path from the file's, in {column}",
                    do="put the image there, or leave the row out",
                )
        return tuple(images)

    def _image(self, value: Any) -> ImageSource | None:
        if isinstance(value, Mapping):
            value = bytes(value["bytes"]) if value.get("bytes") else value.get("path")
        if isinstance(value, bytes) and value:
            return ImageSource(data=value)
        if isinstance(value, str) and value:
            path = Path(value)
            path = path if path.is_absolute() or self.folder is None else self.folder / path
            if not path.is_file():
                raise MissingImage(
                    f"no image {path}",
                    where="a row's images",
                    expected="a file, its path relative to the data file",
                    do="put the image there, or leave the row out",
                )
            return ImageSource(path=str(path))
        return None


def read_table(
    path: str | Path,
    benchmark: str,
    schemas: Sequence[Sequence[str]],
    hub_ids: Mapping[str, HubData],
) -> list[Table]:
    """The tables at a file, a folder or a hub id. Each must have the columns of one of `schemas`.

    In a downloaded hub repository the benchmark's configuration and split are read. Raises:
    DataError naming a file that is missing, unreadable, empty or without a needed column, and for a
    folder with several splits of which none is the benchmark's.
    """
    local = require_data(path, benchmark, hub_ids)
    if local is None:
        tables = _read_hub(str(path), hub_ids[str(path)])
    else:
        tables = [_read_file(local)] if local.is_file() else _read_folder(local, hub_ids)
    for table in tables:
        _require_columns(table, benchmark, schemas)
    return tables


def require_data(path: str | Path, benchmark: str, hub_ids: Mapping[str, HubData]) -> Path | None:
    """The file or folder, which is not read; None for one of the benchmark's hub ids. Raises:
    DataError where the path is neither.
    """
    local = Path(path).expanduser()
    if local.is_file() or local.is_dir():
        return local
    if str(path) in hub_ids:
        return None
    hub = f", or one of {', '.join(hub_ids)}" if hub_ids else ""
    raise DataError(
        f"no file or folder {path}",
        where=f"benchmark {benchmark}",
        expected=f"a parquet or JSONL file, a folder of them{hub}",
        do="check the path: it is relative to the folder in which the command runs (`data:` in a "
        "benchmark file such as mine.yaml: relative to that file)",
    )


def _read_folder(folder: Path, hub_ids: Mapping[str, HubData]) -> list[Table]:
    chosen = choose_files(folder, hub_ids)
    pictures: dict[str, Any] = {}
    key = ""
    if chosen.images and chosen.hub is not None and chosen.hub.images is not None:
        key = chosen.hub.images[1]
        for file in chosen.images:
            pictures |= _pictures(_read_file(file).rows())
    return [
        _read_file(file, root=folder, config=config, image_key=key, images_by_id=pictures)
        for config, file in chosen.rows
    ]


def _pictures(rows: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(row["id"]): row["image"] for row in rows}


def _read_file(
    file: Path,
    *,
    root: Path | None = None,
    config: str = "",
    image_key: str = "",
    images_by_id: Mapping[str, Any] | None = None,
) -> Table:
    part = part_named(file, root) if root is not None else None
    lines: list[int] = []
    if file.suffix == ".parquet":
        data = _read_parquet(file)
    else:
        numbered = list(json_rows(file))
        lines, data = [line for line, _ in numbered], [row for _, row in numbered]
    return Table(
        str(file), part, False, file.parent, data, config, image_key, images_by_id or {}, lines
    )


def _read_parquet(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(error, str(file)) from error


def _parquet_rows(data: Any, origin: str) -> Iterator[dict[str, Any]]:
    import pyarrow

    try:
        for batch in data.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(error, origin) from error


def _unreadable(error: Exception, where: str) -> DataError:
    return DataError(
        f"cannot be read: {' '.join(str(error).split())[:200]}",
        where=where,
        expected="a whole parquet file",
        do="fetch or write it again",
    )


def _read_hub(hub_id: str, hub: HubData) -> list[Table]:
    """One table for each configuration.

    unverified: no hub was reachable where this was written. Names, splits and columns are from the
    data cards; loading them was not seen.
    """
    with errors_as(
        DataError,
        "cannot be loaded from the hub: {error}",
        where=hub_id,
        expected=f"split {hub.split} of the repository",
        do="check the connection, or download it and give its path",
    ):
        try:
            return _hub_tables(hub_id, hub)
        except ImportError as error:
            raise DataError(
                f"{hub_id} needs the package datasets",
                where=hub_id,
                expected="datasets, which reads hub repositories",
                do="pip install datasets, or give a path",
            ) from error


def _hub_tables(hub_id: str, hub: HubData) -> list[Table]:
    from huggingface_hub import HfApi

    revision = str(HfApi().dataset_info(hub_id).sha)
    pictures: dict[str, Any] = {}
    if hub.images is not None:
        pictures = _pictures(_hub_rows(_hub_split(hub_id, hub.images[0], hub.split, revision)))
    key = hub.images[1] if hub.images is not None else ""
    return [
        Table(
            str(HubOrigin(hub_id, revision, config)),
            None,
            True,
            None,
            _hub_split(hub_id, config, hub.split, revision),
            config,
            key,
            pictures,
        )
        for config in hub.configs or ("",)
    ]


def _hub_split(hub_id: str, config: str, split: str, revision: str) -> Any:
    import datasets

    data = datasets.load_dataset(hub_id, config or None, split=split, revision=revision)
    return data.with_format("arrow")


def _hub_rows(data: Any) -> Iterator[dict[str, Any]]:
    """The rows as they are stored: in Arrow's format no image is decoded, not even in a list."""
    for batch in data.iter(batch_size=_BATCH):
        yield from batch.to_pylist()


def _require_columns(table: Table, benchmark: str, schemas: Sequence[Sequence[str]]) -> None:
    if len(table) == 0:
        raise DataError("no rows", where=table.origin, expected="at least one", do="check the path")
    names = table.column_names + (["image"] if table.images_by_id else [])
    missing = [[column for column in schema if column not in names] for schema in schemas]
    if all(missing):
        first = min(missing, key=len)
        columns = schemas[missing.index(first)]
        raise DataError(
            f"no column {', '.join(first)}",
            where=table.origin,
            expected=f"{', '.join(columns)} (benchmark {benchmark}); it has {', '.join(names)}",
            do="rename the columns, or describe them in a benchmark file of your own (mine.yaml)",
        )


def require_count(tables: Sequence[Table], expected: int, hub: HubData | None) -> None:
    """Raises: DataError where a hub's split does not have as many rows as its card says."""
    if hub is not None and all(table.is_hub for table in tables):
        expected = hub.rows or expected
        num_rows = sum(map(len, tables))
        if num_rows != expected:
            raise DataError(
                f"{num_rows:,} rows",
                where=tables[0].origin,
                expected=f"{expected:,} rows",
                do="give the path of the data that is meant",
            )
