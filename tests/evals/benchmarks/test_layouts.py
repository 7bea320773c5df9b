"""The real loader on the hub's own columns, types and folder layouts, and on users' folders."""

import json
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from evals.asking.messages import one_turn
from evals.data.items import Item
from evals.data.layout import HubData, choose_files
from evals.data.parts import split_parts
from evals.data.sources import _read_hub, require_count
from evals.registry import get_benchmark
from rl.core import Image, ImageSource, Text
from rl.errors import DataError
from tests.evals.benchmarks.hub import (
    LAYOUTS,
    SCHEMAS,
    gqa_repository,
    hub_rows,
    table,
    write,
)
from tests.evals.conftest import mme_rows, png, textvqa_rows, write_parquet


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_downloaded_repository_is_read(name, tmp_path):
    benchmark = get_benchmark(name)
    rows = hub_rows(name, 6)
    wanted, others = LAYOUTS[name]
    write(tmp_path / wanted, table(name, rows), shards=2)
    for other in others:
        write(tmp_path / other, table(name, hub_rows(name, 1)))
    items = benchmark.load(tmp_path)
    assert len(items) == len(rows)
    assert all(wanted.split("/")[-1] in item.origin for item in items)
    assert [item.question for item in items] == [row["question"] for row in rows]
    assert [item.sample.images[0].read() for item in items] == [
        row["image"]["bytes"] for row in rows
    ]
    assert not any(item.problem for item in items)


@pytest.mark.parametrize("place", ["Full/{}", "{}", "Full/{}/converted"])
def test_pope_is_read_where_only_its_full_configuration_is(place, tmp_path):
    rows = hub_rows("pope", 2)
    for split in ("random", "adversarial", "popular"):
        mine = [{**row, "category": split} for row in rows]
        if place.endswith("converted"):  # the hub's own conversion: a folder for each split
            write(tmp_path / place.format(split), table("pope", mine))
            [file] = (tmp_path / "Full" / split).iterdir()
            file.rename(file.with_name("0000.parquet"))
        else:
            write(tmp_path / place.format(split), table("pope", mine))
    items = get_benchmark("pope").load(tmp_path)
    assert [item.category for item in items] == [
        split for split in ("adversarial", "popular", "random") for _ in rows
    ]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_one_file_is_read(name, tmp_path):
    benchmark = get_benchmark(name)
    rows = hub_rows(name, 3)
    data = table(name, rows)
    if "image" not in data.column_names:  # gqa's rows, joined by the user
        write_parquet(tmp_path / "rows.parquet", rows)
    else:
        pq.write_table(data, tmp_path / "rows.parquet")
    items = benchmark.load(tmp_path / "rows.parquet")
    assert len(items) == len(rows)
    assert len({item.cluster_id for item in items}) == 3
    for item, row in zip(items, rows, strict=True):
        assert item.sample.messages[0].parts[0] == Image(0)
        assert isinstance(item.sample.messages[0].parts[1], Text)
        json.dumps(dict(item.columns))
        assert row["question"].strip().lower()[:20] in item.sample.messages[0].text.lower()


def test_gqa_joins_its_two_configurations(tmp_path):
    rows = hub_rows("gqa", 4)
    items = get_benchmark("gqa").load(gqa_repository(tmp_path, rows))
    assert [item.sample.images[0].read() for item in items] == [r["image"]["bytes"] for r in rows]
    assert {item.category for item in items} == {"verify"}
    (tmp_path / "testdev_balanced_images" / "testdev-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match="no column image"):
        get_benchmark("gqa").load(tmp_path)


def test_chartqa_of_the_other_repository(tmp_path):
    rows = [
        {
            "image": {"bytes": png(number), "path": None},
            "query": "How many?",
            "label": ["14"],
            "human_or_machine": number % 2,
        }
        for number in range(4)
    ]
    items = get_benchmark("chartqa").load(write_parquet(tmp_path / "a.parquet", rows))
    assert [item.category for item in items] == ["human", "augmented"] * 2
    assert items[0].sample.references == ("14",)
    short = [{key: row[key] for key in ("image", "query", "label")} for row in rows]
    file = write_parquet(tmp_path / "b.parquet", short)
    with pytest.raises(
        DataError, match=r"no column human_or_machine.*it has image, query, label\. Rename"
    ):
        get_benchmark("chartqa").load(file)


def test_splits_without_the_benchmarks_own_are_told(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "data" / split, table("textvqa", textvqa_rows(0, 1)))
    with pytest.raises(DataError) as caught:
        get_benchmark("textvqa").load(tmp_path)
    assert "2 splits to choose from: data/test, data/train" in str(caught.value)
    assert "expected data/validation" in str(caught.value)


def test_a_configurations_own_folder_is_read(tmp_path):
    write(tmp_path / "DocVQA" / "validation", table("docvqa", hub_rows("docvqa", 3)))
    write(tmp_path / "DocVQA" / "test", table("docvqa", hub_rows("docvqa", 1)))
    assert len(get_benchmark("docvqa").load(tmp_path / "DocVQA")) == 3
    with pytest.raises(DataError, match="2 splits to choose from"):
        get_benchmark("infovqa").load(tmp_path)


def test_configurations_are_read_one_after_another(tmp_path):
    hub = {"a/b": HubData("val", ("one", "two")), "c/b": HubData("val", ("one", "two"))}
    for config in ("two", "one", "three"):
        write(tmp_path / config / "val", table("mme", mme_rows(0, 1)))
        write(tmp_path / config / "dev", table("mme", mme_rows(0, 1)))
    chosen = choose_files(tmp_path, hub)
    assert [(config, file.parent.name) for config, file in chosen.rows] == [
        ("one", "one"),
        ("two", "two"),
    ]
    assert all(file.name.startswith("val-") for _, file in chosen.rows)


def test_a_converted_layout_and_plain_split_names(tmp_path):
    write_parquet(tmp_path / "a" / "default" / "test" / "0000.parquet", mme_rows(0, 2))
    write_parquet(tmp_path / "a" / "default" / "train" / "0000.parquet", mme_rows(9, 2))
    assert len(get_benchmark("mme").load(tmp_path / "a")) == 4
    write_parquet(tmp_path / "b" / "test.parquet", mme_rows(0, 3))
    write_parquet(tmp_path / "b" / "train.parquet", mme_rows(9, 2))
    assert len(get_benchmark("mme").load(tmp_path / "b")) == 6
    (tmp_path / "b" / ".cache").mkdir()
    (tmp_path / "b" / ".cache" / "x.jsonl").write_text("{}")
    assert len(get_benchmark("mme").load(tmp_path / "b")) == 6


def test_a_row_without_its_image_is_an_error_row(tmp_path):
    rows = mme_rows(0, 2)
    rows[1]["image"] = {"bytes": None, "path": None}
    (tmp_path / "a.png").write_bytes(png(7))
    lines = [{**row, "image": "a.png"} for row in mme_rows(0, 1)]
    lines[1]["image"] = "gone.png"
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    items = get_benchmark("mme").load(write_parquet(tmp_path / "a.parquet", rows))
    assert [item.problem for item in items] == ["", "no image", "", ""]
    items = get_benchmark("mme").load(tmp_path / "data.jsonl")
    assert items[1].problem == f"no image {tmp_path / 'gone.png'}"
    assert items[0].sample.images == (ImageSource(path=str(tmp_path / "a.png")),)


def test_questions_about_one_image_share_its_bytes(tmp_path):
    items = get_benchmark("mme").load(write_parquet(tmp_path / "a.parquet", mme_rows(0, 3)))
    assert items[0].sample.images[0] is items[1].sample.images[0]
    assert items[0].sample.images[0] is not items[2].sample.images[0]


def test_a_parquet_file_that_breaks_off_is_named(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", mme_rows(0, 40))
    content = bytearray(file.read_bytes())
    content[100:400] = bytes(300)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet"):
        get_benchmark("mme").load(file)


def test_parts_stay_disjoint_where_rows_share_one_of_their_images():
    def item(name: str, *images: int) -> Item:
        sources = tuple(ImageSource(data=png(number)) for number in images)
        return one_turn(name, "q", sources, ("a",), name)

    chain = [item(f"c{n}", n, n + 1) for n in range(40)]
    alone = [item(f"s{n}", 100 + n) for n in range(60)] + [item(f"t{n}") for n in range(60)]
    parts = split_parts(chain + alone)
    assert len(set(parts[:40])) == 1
    assert 20 < parts[40:].count("select") < 60
    assert split_parts(alone) == parts[40:]
    backwards = split_parts(chain[::-1])
    assert set(backwards) == set(parts[:40])


CARD = """---
configs:
- config_name: default
  data_files:
  - {split: test, path: data/test-*}
- config_name: testdev_balanced_instructions
  data_files:
  - {split: testdev, path: testdev_balanced_instructions/testdev-*}
- config_name: testdev_balanced_images
  data_files:
  - {split: testdev, path: testdev_balanced_images/testdev-*}
---
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository that the package `datasets` itself reads; only the revision's look-up, which
    needs the network, is answered here.
    """
    import datasets
    from huggingface_hub import HfApi

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name: SimpleNamespace(sha="abc123"))
    root = gqa_repository(tmp_path / "repository", hub_rows("gqa", 4))
    write(root / "data" / "test", table("mme", hub_rows("mme", 3)), shards=2)
    (root / "README.md").write_text(CARD)
    return root


def test_the_hubs_own_reader(repository):
    [found] = _read_hub(str(repository), HubData("test"))
    assert (len(found), found.origin) == (6, f"{repository}@abc123")
    rows = list(found.rows())
    assert found.images(rows[0], ("image",))[0].read() == png(0)
    assert set(get_benchmark("mme").columns) <= set(found.column_names)
    with pytest.raises(DataError, match=r"abc123: 6 rows; expected 2,374 rows"):
        require_count([found], 2374, HubData("test"))
    require_count([found], 2374, HubData("test", rows=6))
    with pytest.raises(DataError, match="cannot be loaded from the hub"):
        _read_hub(str(repository), HubData("validation"))


def test_the_hubs_joined_configurations(repository):
    hub = get_benchmark("gqa").hub_ids["lmms-lab/GQA"]
    [found] = _read_hub(str(repository), hub)
    images = [found.images(row, ("image",))[0].read() for row in found.rows()]
    assert images == [png(number) for number in range(4)]
    assert found.config == "testdev_balanced_instructions"
