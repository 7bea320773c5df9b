"""Every kind of file, `path#n`, weights, folders and the hub's own layout."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rl.data.sources import DataSource, Row, hub_rows, read_rows
from rl.errors import ConfigError, DataError

ROWS: list[dict[str, Any]] = [{"query": f"q{i}", "response": f"a{i}"} for i in range(10)]


def rows(base: Path, path: str, **settings: Any) -> list[Row]:
    return list(read_rows(DataSource(path=path, **settings), base))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=1))
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": ROWS}))
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, ROWS)))
    cells = "".join(f"{row['query']},{row['response']}\n" for row in ROWS)
    (tmp_path / "a.csv").write_text("\ufeffquery,response\n" + cells)
    (tmp_path / "a.tsv").write_text(("query,response\n" + cells).replace(",", "\t"))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "wrapped.json", "lines.json", "a.csv", "a.tsv", "a.parquet"]
)
def test_every_kind_of_file_gives_the_same_rows(folder: Path, name: str) -> None:
    found = rows(folder, name)
    assert [row.value for row in found] == ROWS
    assert [row.index for row in found] == list(range(10))
    assert {row.file for row in found} == {str(folder / name)}


def test_rows_know_their_lines(folder: Path) -> None:
    assert [row.line for row in rows(folder, "a.jsonl")] == list(range(1, 11))
    assert [row.line for row in rows(folder, "a.json")] == [2 + 4 * i for i in range(10)]
    (folder / "b.csv").write_text('text,label,images\n"two\nlines",true,"[""a.png""]"\nc,,\n')
    found = rows(folder, "b.csv")
    assert [row.line for row in found] == [2, 4]
    assert found[0].value == {"text": "two\nlines", "label": True, "images": ["a.png"]}
    assert found[1].value == {"text": "c"}
    (folder / "t.txt").write_text("one\n\ntwo\n")
    found = rows(folder, "t.txt")
    assert [(row.line, row.value) for row in found] == [(1, {"text": "one"}), (3, {"text": "two"})]


def test_a_bad_line_is_a_row_with_an_error_and_the_others_are_read(folder: Path) -> None:
    (folder / "bad.jsonl").write_bytes(
        b'{"a": 1}\n{"a": \n[1]\n{"a": "\xff"}\n' + b"[" * 9999 + b"\n{}"
    )
    found = rows(folder, "bad.jsonl")
    assert [row.line for row in found if row.error is None] == [1, 6]
    assert [row.line for row in found if row.error is not None] == [2, 3, 4, 5]
    assert "broken JSON: Expecting value at column 7" in str(found[1].error)
    (folder / "bad.csv").write_text("a,b\n1\n1,2\n")
    assert [row.error is None for row in rows(folder, "bad.csv")] == [False, True]


def test_so_many_rows_are_seeded_and_without_replacement(folder: Path) -> None:
    source = DataSource(path="a.jsonl#4")
    first = [row.index for row in read_rows(source, folder, seed=1)]
    assert first == [row.index for row in read_rows(source, folder, seed=1)]
    assert len(set(first)) == 4
    assert any(first != [r.index for r in read_rows(source, folder, seed=s)] for s in range(2, 6))


def test_a_file_whose_name_holds_a_hash_opens(folder: Path) -> None:
    (folder / "b#3").mkdir()
    (folder / "b#3" / "x#2.jsonl").write_text("{}\n{}\n{}\n")
    assert len(rows(folder, "b#3/x#2.jsonl")) == 3
    assert len(rows(folder, "b#3/x#2.jsonl#2")) == 2
    assert len(rows(folder, "b#3")) == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 35), st.sampled_from([0.5, 1.0, 2.0, 2.5]))
def test_counts_and_weights_are_whole_passes_and_a_remainder(
    tmp_path_factory: pytest.TempPathFactory, count: int, weight: float
) -> None:
    base = tmp_path_factory.getbasetemp()
    (base / "w.jsonl").write_text("{}\n" * 10)
    found = rows(base, f"w.jsonl#{count}", weight=weight)
    assert len(found) == max(1, round(count * weight))
    times = Counter(row.index for row in found)
    assert max(times.values()) - min(times.get(i, 0) for i in range(10)) <= 1
    assert len({(row.index, row.copy) for row in found}) == len(found)


def test_a_folder_is_its_data_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "b.jsonl").write_text('{"n": 2}\n')
    (tmp_path / "a.json").write_text('[{"n": 1}]')
    assert [row.value["n"] for row in rows(tmp_path, ".")] == [1, 2]
    for split in ("train", "test"):
        (tmp_path / f"{split}-00000.jsonl").write_text(json.dumps({"n": split}))
    with pytest.raises(DataError, match=r"several splits.*Set `split:` to one of test, train"):
        rows(tmp_path, ".")
    assert [row.value["n"] for row in rows(tmp_path, ".", split="test")] == ["test"]


def test_the_hubs_own_layout(tmp_path: Path) -> None:
    import datasets

    image = PIL.Image.new("RGB", (4, 3), "red")
    table = datasets.Dataset.from_dict(
        {"image": [image], "question": ["Q"], "answer": ["A"]},
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "question": datasets.Value("string"),
                "answer": datasets.Value("string"),
            }
        ),
    )
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    table.to_parquet(str(hub / "data" / "train-00000-of-00001.parquet"))
    table.save_to_disk(str(tmp_path / "disk"))
    by_library = list(hub_rows(str(hub)))
    for found in (by_library, rows(tmp_path, "hub"), rows(tmp_path, "disk")):
        assert [row.value["answer"] for row in found] == ["A"]
        assert found[0].value["image"]["bytes"][:4] == b"\x89PNG"


def test_what_is_not_there(folder: Path) -> None:
    (folder / "data").mkdir()
    for name in ("none.jsonl", "data/none", "./none", "data/none.jsonl", "a/b/c"):
        with pytest.raises(DataError, match="the data file is missing"):
            rows(folder, name)
    with pytest.raises(DataError, match="the folder holds no data file"):
        rows(folder, "data")
    with pytest.raises(ConfigError, match='"x" is no number of rows'):
        rows(folder, "a.jsonl#x")
    (folder / "a.xyz").write_text("x")
    with pytest.raises(DataError, match=r'files "\.xyz" are not read'):
        rows(folder, "a.xyz")
    (folder / "b.parquet").write_text("x")
    with pytest.raises(DataError, match="no readable Parquet file"):
        rows(folder, "b.parquet")
    (folder / "b.json").write_text('[{"a": 1},\n {"a": }]')
    with pytest.raises(DataError, match=r"b\.json:2: broken JSON"):
        rows(folder, "b.json")


def test_a_source_names_one_origin() -> None:
    for wrong in (
        {},
        {"path": "a", "stage": "b"},
        {"path": "a", "weight": 0},
        {"path": "a", "x": 1},
    ):
        with pytest.raises(ValidationError):
            DataSource.model_validate(wrong)
