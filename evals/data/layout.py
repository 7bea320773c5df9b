"""Which files of a folder hold a benchmark's rows.

select-0.parquet report.jsonl                      the two parts, by name
en/dev-00000-of-00001.parquet en/test-...          a downloaded hub repository: one configuration
                                                   and split of it is the benchmark's
anything.parquet more.jsonl                        all files
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rl.errors import DataError

# data/test-00000-of-00002.parquet; older uploads have a hash behind it.
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?")
_ORIGIN = re.compile(r"(?P<hub_id>[^\s/@]+/[^\s/@]+)@(?P<revision>\w+)(?: (?P<config>\S+))?")
_SPLITS = ("train", "validation", "val", "dev", "test", "testdev", "testmini")
_NO_CONFIG = ("", "data", "default")


@dataclass(frozen=True)
class HubData:
    """Which rows of a hub repository are the benchmark's.

    - `split` may name several splits, joined by "+".
    - `configs` are read one after another; none is the repository's default configuration.
    - `images` = (configuration, column): the images are in a configuration of their own, whose `id`
      is the rows' `column` (GQA).
    - `rows` is this repository's row count where it is not the benchmark's `expected_rows`.
    - `also` is another place in the repository with the same rows. It is read where a folder holds
      nothing else of the benchmark.

    >>> HubData("dev+test", configs=("en", "cn")).splits
    ('dev', 'test')
    """

    split: str
    configs: tuple[str, ...] = ()
    images: tuple[str, str] | None = None
    rows: int | None = None
    also: HubData | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that `split` names."""
        return tuple(self.split.split("+"))

    @property
    def places(self) -> tuple[HubData, ...]:
        """Where the rows may be; the first place that exists is read."""
        return (self,) if self.also is None else (self, *self.also.places)


def lmms_lab(name: str, hub: HubData) -> dict[str, HubData]:
    """The repository under both of its names: `lmms-lab/*` has moved to `lmms-lab-encoder/*`."""
    return {f"lmms-lab/{name}": hub, f"lmms-lab-encoder/{name}": hub}


@dataclass(frozen=True)
class HubOrigin:
    """Where rows of the hub came from, as results say it in `data_path`: `id@revision`, followed by
    the configuration where there is one.

    >>> str(HubOrigin("openai/gsm8k", "e53f048", "main"))
    'openai/gsm8k@e53f048 main'
    """

    hub_id: str
    revision: str
    config: str = ""

    def __str__(self) -> str:
        return f"{self.hub_id}@{self.revision}" + (f" {self.config}" if self.config else "")

    @classmethod
    def parse(cls, text: str) -> HubOrigin | None:
        """Reads what `str` wrote; None for a path.

        >>> HubOrigin.parse("lmms-lab/ai2d@1f2e3d").revision, HubOrigin.parse("data/lmms-lab/ai2d")
        ('1f2e3d', None)
        """
        match = _ORIGIN.fullmatch(text)
        return cls(match["hub_id"], match["revision"], match["config"] or "") if match else None


@dataclass(frozen=True)
class Chosen:
    """The files to read: (configuration, file) of rows, and those of a joined configuration."""

    rows: list[tuple[str, Path]]
    images: list[Path]
    hub: HubData | None


def part_named(file: Path, root: Path) -> Literal["select", "report"] | None:
    """The part that the file's name, or the name of a folder between `root` and it, states."""
    for name in file.relative_to(root).parts:
        if name.startswith("select"):
            return "select"
        if name.startswith("report"):
            return "report"
    return None


def choose_files(folder: Path, hub_ids: Mapping[str, HubData]) -> Chosen:
    """The files that hold the benchmark's rows. Raises: DataError where there is none, where a file
    without a part is beside files with one, or where none of several splits is the benchmark's.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in (".parquet", ".jsonl")
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise DataError(
            "no parquet or JSONL file",
            where=str(folder),
            expected="a folder with *.parquet or *.jsonl in it",
            do="check the path",
        )
    named = [part_named(file, folder) is not None for file in files]
    if any(named):
        if not all(named):
            raise DataError(
                f"{files[named.index(False)].name} beside select and report files",
                where=str(folder),
                expected="every file named select* or report*, or none",
                do="rename the file, or move it elsewhere",
            )
        return Chosen([("", file) for file in files], [], None)
    hubs = [place for hub in hub_ids.values() for place in hub.places]
    wanted = {split for hub in hubs for split in hub.splits} | set(_SPLITS)
    places = [(*_place(file, folder, wanted), file) for file in files]
    if not any(split for _, split, _ in places):
        return Chosen([("", file) for file in files], [], None)
    return _of_hub(places, folder, hub_ids)


def _place(file: Path, root: Path, splits: set[str]) -> tuple[str, str]:
    """(configuration, split) by the file's path; "" where the path does not say."""
    folders = list(file.relative_to(root).parts[:-1])
    split = ""
    if match := _SHARD.fullmatch(file.stem):
        split = match["split"]
    elif file.stem in splits:
        split = file.stem
    elif folders and folders[-1] in splits:  # <config>/<split>/0000.parquet
        split = folders.pop()
    config = folders[-1] if folders else ""
    return ("" if config in _NO_CONFIG else config), split


def _of_hub(
    places: list[tuple[str, str, Path]], folder: Path, hub_ids: Mapping[str, HubData]
) -> Chosen:
    has_configs = any(config for config, _, _ in places)
    fitting: list[Chosen] = []
    for hub in dict.fromkeys(hub_ids.values()):
        chosen = next((c for p in hub.places if (c := _rows_of(p, places, has_configs)).rows), None)
        if chosen is not None and not any(other.rows == chosen.rows for other in fitting):
            fitting.append(chosen)
    if len(fitting) == 1:
        return fitting[0]
    names = sorted({f"{config or 'data'}/{split or '?'}" for config, split, _ in places})
    if not fitting and len(names) == 1:  # nothing to choose between
        return Chosen([(config, file) for config, _, file in places], [], None)
    expected = sorted(
        {f"{' or '.join(hub.configs[:3]) or 'data'}/{hub.split}" for hub in hub_ids.values()}
    )
    raise DataError(
        f"{len(names):,} splits to choose from: {', '.join(names[:12])}"
        + (", ..." if len(names) > 12 else ""),
        where=str(folder),
        expected=" or ".join(expected) if expected else "one split",
        do="give the path of one file, or of a folder with that split alone",
    )


def _rows_of(hub: HubData, places: list[tuple[str, str, Path]], has_configs: bool) -> Chosen:
    configs = (hub.configs if has_configs else ()) or ("",)
    rows = [
        (config, file)
        for config, split, file in places
        if config in configs and split in hub.splits
    ]
    rows.sort(key=lambda row: (configs.index(row[0]), row[1]))
    images = [
        file
        for config, split, file in places
        if hub.images is not None and config == hub.images[0] and split in hub.splits
    ]
    return Chosen(rows, images, hub)
