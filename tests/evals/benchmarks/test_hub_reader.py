"""Every benchmark from its hub id, read by the package `datasets` itself from repositories in the
hub's columns, types, configurations and splits: what it reads is what a downloaded copy gives.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals.asking.fewshot import FewShotBenchmark
from evals.data.items import Item
from evals.data.layout import HubData
from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from tests.evals.benchmarks import hub, test_hub_types

_NO_DEFAULT = {"humaneval": "openai_humaneval"}  # its only configuration has a name, one split
_MOST_CONFIGS = {"ceval": 6}  # of 52, which take seconds; MMMU has its 30
_OTHER_SPLIT = "elsewhere"


def hubs() -> list[Any]:
    """(benchmark, hub id): each repository once, under the last of its names."""
    found = []
    for name in sorted({*hub.SCHEMAS, *test_hub_types.HUB}):
        last = {data: hub_id for hub_id, data in get_benchmark(name).hub_ids.items()}
        found += [pytest.param(name, hub_id, id=hub_id + f"-{name}") for hub_id in last.values()]
    return found


def rows_of(name: str, num_images: int) -> pa.Table:
    if name in test_hub_types.HUB:
        return test_hub_types.typed(name, num_images)
    rows = [dict(row) for row in hub.hub_rows(name, num_images)]
    return hub.table(name, rows)


def write(path: Path, data: pa.Table) -> None:
    """A shard that says, as the hub's do, which columns are images."""
    features = datasets.Features.from_arrow_schema(data.schema)
    for column, kind in zip(data.schema.names, data.schema.types, strict=True):
        if kind == hub.IMAGE or kind == pa.binary():
            features[column] = datasets.Image()
        elif pa.types.is_list(kind) and kind.value_type == hub.IMAGE:
            features[column] = datasets.List(datasets.Image())
    about = {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data.replace_schema_metadata(about), path)


def make_repository(root: Path, name: str, data: HubData) -> int:
    """Writes each configuration's rows, another split beside them, and the card; the number of
    rows.
    """
    benchmark = get_benchmark(name)
    configs = data.configs or (_NO_DEFAULT.get(name, "default"),)
    whole = rows_of(name, max(3, len(configs)))
    each = -(-len(whole) // len(configs))
    parts = {config: whole.slice(n * each, each) for n, config in enumerate(configs)}
    if data.images is not None:
        rows = hub.hub_rows(name, 3)
        pictures = [{"id": row[data.images[1]], "image": row["image"]} for row in rows]
        schema = pa.schema([("id", hub.TEXT), ("image", hub.IMAGE)])
        parts[data.images[0]] = pa.Table.from_pylist(pictures, schema=schema)
    others = [] if name in _NO_DEFAULT else [_OTHER_SPLIT]
    if isinstance(benchmark, FewShotBenchmark):
        others.append(benchmark.shot_split)
    card = ["---", "configs:"]
    for config, rows in parts.items():
        folder = "data" if config == "default" else config
        card += [f"- config_name: {config}", "  data_files:"]
        for split in (data.split, *others):
            mine = rows if split == data.split else rows.slice(0, 1)
            write(root / folder / f"{split}-00000-of-00001.parquet", mine)
            card.append(f"  - {{split: {split}, path: {folder}/{split}-*}}")
    (root / "README.md").write_text("\n".join([*card, "---", ""]))
    return len(whole)


def seen(items: list[Item]) -> list[Any]:
    """What the model is asked and what the rule gets."""
    return [
        (
            item.sample.messages,
            [image.read() for image in item.sample.images],
            item.sample.references,
            item.category,
            item.columns,
            item.problem,
        )
        for item in items
    ]


@pytest.mark.parametrize(("name", "hub_id"), hubs())
def test_a_hub_id_gives_what_its_downloaded_copy_gives(name, hub_id, tmp_path, monkeypatch):
    if name == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")
    benchmark = get_benchmark(name)
    root = tmp_path / "repository"
    data = benchmark.hub_ids[hub_id]
    data = replace(data, configs=data.configs[: _MOST_CONFIGS.get(name)])
    number = make_repository(root, name, data)
    monkeypatch.setattr(type(benchmark), "hub_ids", {hub_id: replace(data, rows=number)})
    answer_for_the_hub(monkeypatch, tmp_path, root)
    items = benchmark.load(hub_id)
    assert {item.origin.split()[0] for item in items} == {f"{hub_id}@abc123"}
    assert len(items) == number
    assert not any(item.problem for item in items)
    assert all(bool(item.sample.images) == bool(benchmark.image_columns) for item in items)
    assert seen(items) == seen(benchmark.load(root))


def answer_for_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    """What needs the network, the revision's look-up and the download, is answered here."""
    from huggingface_hub import HfApi

    read = datasets.load_dataset

    def load(hub_id: str, *given: Any, revision: str, **options: Any) -> Any:
        assert revision == "abc123"
        return read(str(root), *given, **options)

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name: SimpleNamespace(sha="abc123"))
    monkeypatch.setattr(datasets, "load_dataset", load)
