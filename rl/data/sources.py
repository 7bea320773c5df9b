"""Finds the rows of a data source: a file, a folder, or a data set of the hub.

A row that cannot be parsed is not raised but returned with its `error`, so that all bad rows are
found in one pass (`rl/data/bad_rows.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.data.files import SUFFIXES, Row, file_rows
from rl.errors import ConfigError, DataError, errors_as

__all__ = ["DataSource", "Row", "hub_rows", "read_rows"]

_SPLIT = re.compile(r"^(train|test|validation|val|dev)(?=$|[-_.])")


class DataSource(BaseModel):
    """One entry of a recipe's `data`: where rows are and how many of them are taken.

    data:
      - {path: pairs.jsonl, weight: 2}     # each row twice in an epoch
      - {path: "extra.jsonl#500"}          # 500 rows of it
      - {path: org/name, split: train}     # a data set of the hub
      - {stage: sampled}                   # the rows that a sample stage wrote
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str | None = Field(
        None, description="A file, a folder or a hub id; `path#500` takes 500 rows."
    )
    stage: str | None = Field(
        None, description="A sample stage whose rows to read, instead of `path`."
    )
    weight: float = Field(
        1.0,
        gt=0,
        description="How often an epoch holds each row: 2 gives it twice, 0.5 a seeded half.",
    )
    format: str | None = Field(
        None,
        description="A row format's name, or your own `./file.py:function`; by default the keys of "
        "a row decide.",
    )
    image_root: str | None = Field(
        None,
        description="Folder that images must lie in; by default they are looked for beside the "
        "data file.",
    )
    split: str | None = Field(None, description="Which split of a folder or hub id.")
    allow_urls: bool = Field(False, description="Whether images may be fetched over http.")

    @model_validator(mode="after")
    def _one_origin(self) -> DataSource:
        if (self.path is None) == (self.stage is None):
            raise ValueError(
                "give `path` (a file, folder or hub id) or `stage` (a sample stage), one of the two"
            )
        return self


def read_rows(source: DataSource, base: Path, *, seed: int = 0) -> Iterator[Row]:
    """The rows of a source; a relative path is below `base`. A row that cannot be parsed has
    `error`.

    Without `#n` and `weight` the rows are in the order of the file. With them, n x weight rows are
    taken: whole passes over the file first, then a seeded sample without replacement. Raises:
    DataError where a file is missing, cannot be read, or has no rows; ConfigError for a `#n` that
    is no number.
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


def require_source(source: DataSource, base: Path) -> None:
    """Checks that the source exists, without reading it; a hub id is not looked up. Raises: as
    `read_rows`.
    """
    if source.path is not None:
        _local(_split_limit(source.path, base)[0], base)


def hub_rows(name: str, split: str | None = None) -> Iterator[Row]:
    """The rows of a data set that the library `datasets` loads: a hub id, or a local folder in the
    hub's layout. Images stay encoded. Raises: DataError where it cannot be loaded.
    """
    import datasets  # heavy, and only hub data needs it

    with errors_as(
        DataError,
        f'"{name}" is no local file or folder, and the hub does not give it ({{error}})',
        expected="a file, a folder or a hub id",
        do="check the path or the id, and the connection",
    ):
        loaded = datasets.load_dataset(name, split=split or "train")
    for column, feature in (loaded.features or {}).items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            loaded = loaded.cast_column(column, datasets.List(datasets.Image(decode=False)))
    for index, value in enumerate(loaded):
        yield Row(name, index + 1, index, dict(value))


def _split_limit(path: str, base: Path) -> tuple[str, int | None]:
    """`a.jsonl#500` -> (`a.jsonl`, 500). A file whose name itself holds `#` has no limit."""
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
    path = _local(name, base)
    if path is None:
        return hub_rows(name, split)
    return _folder_rows(path, split) if path.is_dir() else file_rows(path)


def _local(name: str, base: Path) -> Path | None:
    """The local file or folder; None where the name looks like a hub id. Raises: DataError where it
    is neither.
    """
    path = base / Path(name).expanduser()
    if path.is_dir() or _exists(path):
        return path
    owner = name.partition("/")[0]
    looks_like_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and owner not in (".", "..")
    if looks_like_hub and not name.endswith(SUFFIXES) and not (base / owner).exists():
        return None
    raise DataError(
        "the data file is missing",
        where=str(path),
        expected="a file, a folder or a hub id",
        do="check the path",
    )


def _folder_rows(folder: Path, split: str | None) -> Iterator[Row]:
    """The rows of all data files of the folder and of its `data/` (the hub's layout), in the order
    of the file names. Raises: DataError where there are none, or where several splits are mixed.
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
    files = [f for f in files if f.is_file() and f.suffix.lower() in SUFFIXES and not _is_aside(f)]
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
            expected=", ".join(SUFFIXES),
            do="check the path",
        )
    return _chained(files)


def _is_aside(file: Path) -> bool:
    """Whether the file is one that data folders hold beside the data."""
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
        for row in file_rows(file):
            yield replace(row, index=index)
            index += 1


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


def _empty(name: str) -> DataError:
    return DataError(
        "the data set is empty", where=name, expected="at least one row", do="check the path"
    )
