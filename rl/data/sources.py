"""Files, folders and hub data sets -> rows. A row that cannot be parsed comes as a row with an
`error`, so that all are found at once.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.errors import ConfigError, DataError

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
_SPLIT = re.compile(r"^(train|test|validation|val|dev)(?=$|[-_.])")
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


class DataSource(BaseModel):
    """One source of rows: a file, a folder, a hub id (`path`), or what a sample stage wrote
    (`stage`).

    `path#500` takes 500 rows. `weight` multiplies the rows that an epoch holds: 2 gives each twice,
    0.5 a seeded half. `format` forces a row format by name, or is a user's own
    `./mine.py:function`. Images are looked for beside the data file, or below `image_root` and
    nowhere else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str | None = None
    stage: str | None = None
    weight: float = Field(1.0, gt=0)
    format: str | None = None
    image_root: str | None = None
    split: str | None = None
    allow_urls: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> DataSource:
        if (self.path is None) == (self.stage is None):
            raise ValueError(
                "give `path` (a file, folder or hub id) or `stage` (a sample stage), one of the two"
            )
        return self


@dataclass(frozen=True)
class Row:
    """One row as read. `line` counts from 1 (the line of a text file, the row of a table); `copy` >
    0 is a repetition by weight.
    """

    file: str
    line: int
    index: int
    value: dict[str, Any] = field(default_factory=dict)
    copy: int = 0
    error: DataError | None = None

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


def read_rows(source: DataSource, base: Path, *, seed: int = 0) -> Iterator[Row]:
    """The source's rows; relative paths are taken from `base`. Rows that could not be parsed carry
    `error`.

    Without `#n` and weight the order is the file's; else whole passes and a seeded remainder
    without replacement.
    Raises: DataError where a file is missing, unreadable as a whole, or has no rows; ConfigError
    for a senseless `#n`.
    """
    if source.path is None:
        raise ConfigError(
            f"data source `stage: {source.stage}` has no path yet", do="run the sample stage first"
        )
    name, limit = _split_limit(source.path, base)
    rows = _rows_of(name, base, source.split)
    if limit is None and source.weight == 1.0:
        first = next(rows, None)
        if first is None:
            raise _empty(name)
        yield first
        yield from rows
        return
    known = list(rows)
    if not known:
        raise _empty(name)
    wanted = max(1, round((len(known) if limit is None else limit) * source.weight))
    passes, rest = divmod(wanted, len(known))
    for turn in range(passes):
        yield from (replace(row, copy=turn) for row in known)
    chosen = random.Random(f"{seed}:{source.path}").sample(range(len(known)), rest)
    yield from (replace(known[index], copy=passes) for index in chosen)


def hub_rows(name: str, split: str | None = None) -> Iterator[Row]:
    """Rows of a data set that `datasets` loads: a hub id, or a local folder in the hub's own
    layout. Images stay encoded.

    Raises: DataError.
    """
    import datasets  # heavy, and only hub data needs it

    try:
        loaded = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # hub and network raise anything: told in one line, chained
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f'"{name}" is no local file or folder, and the hub does not give it '
            f"({type(error).__name__}: {reason})",
            expected="a file, a folder or a hub id",
        ) from error
    for column, feature in (loaded.features or {}).items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            loaded = loaded.cast_column(column, datasets.List(datasets.Image(decode=False)))
    for index, value in enumerate(loaded):
        yield Row(name, index + 1, index, dict(value))


def _split_limit(path: str, base: Path) -> tuple[str, int | None]:
    """`a.jsonl#500` -> (`a.jsonl`, 500); a file whose real name holds `#` is itself."""
    if "#" not in path or _exists(base / path):
        return path, None
    name, _, count = path.rpartition("#")
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ConfigError(
            f'"{path}": "{count}" is no number of rows',
            expected="path#500",
            do="check the path and the count",
        )
    return name, int(count)


def _rows_of(name: str, base: Path, split: str | None) -> Iterator[Row]:
    path = base / Path(name).expanduser()
    if path.is_dir():
        return _folder_rows(path, split)
    if _exists(path):
        return _file_rows(path)
    owner = name.partition("/")[0]
    looks_like_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and owner not in (".", "..")
    if looks_like_hub and not name.endswith(_SUFFIXES) and not (base / owner).exists():
        return hub_rows(name, split)
    raise DataError(
        "the data file is missing",
        where=str(path),
        expected="a file, a folder or a hub id",
        do="check the path",
    )


def _folder_rows(folder: Path, split: str | None) -> Iterator[Row]:
    """All data files of the folder (and of its `data/`, the hub's place) in the order of their
    names.
    """
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        import datasets

        loaded = datasets.load_from_disk(str(folder)).with_format("arrow")
        tables = loaded.iter(batch_size=1024)
        return (
            Row(str(folder / "data"), index + 1, index, value)
            for index, value in enumerate(value for table in tables for value in table.to_pylist())
        )
    places = (folder, folder / "data")
    files = [file for place in places if place.is_dir() for file in sorted(place.iterdir())]
    files = [f for f in files if f.is_file() and f.suffix.lower() in _SUFFIXES and not _is_aside(f)]
    splits = {match.group(1) if (match := _SPLIT.match(file.stem)) else "" for file in files}
    if split is not None:
        files = [file for file in files if re.match(rf"{re.escape(split)}(?=$|[-_.])", file.stem)]
    elif len(splits - {""}) > 1:
        raise DataError(
            "the folder holds several splits",
            where=str(folder),
            expected="one",
            do=f"set `split:` to one of {', '.join(sorted(splits - {''}))}",
        )
    if not files:
        raise DataError(
            "the folder holds no data file" + (f" of split {split}" if split else ""),
            where=str(folder),
            expected=", ".join(_SUFFIXES),
        )
    return _chained(files)


def _is_aside(file: Path) -> bool:
    """Files that lie beside data and hold none."""
    return file.name in (
        "dataset_info.json",
        "dataset_infos.json",
        "state.json",
        "README.txt",
        "LICENSE.txt",
        "rejects.jsonl",
    )


def _chained(files: Sequence[Path]) -> Iterator[Row]:
    index = 0
    for file in files:
        for row in _file_rows(file):
            yield replace(row, index=index)
            index += 1


def _file_rows(path: Path) -> Iterator[Row]:
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
            expected=", ".join(_SUFFIXES),
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return readers[suffix](path)


def _lines(path: Path) -> Iterator[tuple[int, str | DataError]]:
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
            f"broken JSON: {error.msg} at column {error.colno}", do="mend or remove the line"
        )
        return Row(str(path), line, index, error=fault)
    except (ValueError, RecursionError) as error:
        return Row(
            str(path),
            line,
            index,
            error=DataError(f"broken JSON: {str(error)[:80]}", do="mend or remove the line"),
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
    """A list of objects, one object, or (as many files called .json are) one object a line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=str(path)) from error
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":
            yield from _jsonl_rows(path)
            return
        raise DataError(
            f"broken JSON: {error.msg} at column {error.colno}", where=f"{path}:{error.lineno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"broken JSON: {str(error)[:80]}", where=str(path)) from error
    if isinstance(value, dict):
        inner = value.get("data")
        if set(value) != {"data"} or not isinstance(inner, list):
            yield _object_row(path, 1, 0, value)
            return
        for index, item in enumerate(inner):
            yield _object_row(path, index + 1, index, item)
        return
    if not isinstance(value, list):
        raise DataError("the file holds no list of rows", where=str(path), expected="[{...}, ...]")
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
    """A header line, then rows; an empty cell is an absent key; cells of lists and mappings are
    JSON, `label` is true/false.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=str(path)) from error
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
        raise DataError(f"broken CSV: {error}", where=f"{path}:{reader.line_num}") from error


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
                    error=DataError(f"cell {key} is broken JSON", do="mend or remove the line"),
                )
        elif key == "label" and cell.strip().lower() in ("true", "false"):
            value[key] = cell.strip().lower() == "true"
    return Row(str(path), line, index, value)


def _text_rows(path: Path) -> Iterator[Row]:
    """Each line that is not empty is `{"text": line}`."""
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
            f"is no readable Parquet file: {' '.join(str(error).split())[:120]}", where=str(path)
        ) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


def _empty(name: str) -> DataError:
    return DataError(
        "the data set is empty", where=name, expected="at least one row", do="check the path"
    )
