"""Bad data is told in one clear line with file, line and uid; all bad rows are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from rl.core import Labelled, Sample
from rl.data.load import load, load_records
from rl.data.sources import DataSource
from rl.errors import DataError, PlumblineError

GOOD: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "<image>What?"},
        {"role": "assistant", "content": "Red."},
    ],
    "images": ["a.png"],
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def write(base: Path, *rows: Any, name: str = "rows.jsonl") -> list[DataSource]:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (base / name).write_text("".join(f"{line}\n" for line in lines))
    return [DataSource(path=name)]


def turns(question: Any = "<image>What?", answer: Any = "Red.", **row: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {**GOOD, "messages": messages, **row}


CASES: list[tuple[Any, str]] = [
    ('{"messages": [', "broken JSON: Expecting value at column 15. Fix or remove the line"),
    (turns(images=["none.png"]), 'image "{base}/none.png" is missing. Put the file there'),
    (turns(images=["broken.png"]), 'image "{base}/broken.png" is no image that can be read'),
    (turns("<image><image>?"), "more <image> marks than images (2 marks, 1 images). Add the"),
    (turns(images=["a.png", "a.png"]), "more images than <image> marks (2 images, 1 marks)"),
    (turns(answer=""), "messages[1] is empty: the assistant says nothing. Fill the turn"),
    ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0] has the unknown role 'bot'"),
    ({"pixels": 1}, "no known format (keys: uid, pixels); expected one of messages,"),
    ("[1, 2]", "the row is a list; expected a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "words"), CASES)
def test_one_bad_row_is_one_clear_line(base: Path, row: Any, words: str) -> None:
    bad = row if isinstance(row, str) else {"uid": "bad", **row}
    sources = write(base, GOOD, bad, GOOD)
    with pytest.raises(DataError) as error:
        load_records(sources, "demonstration", base=base)
    place = f"{base}/rows.jsonl:2" + ("" if isinstance(row, str) else " uid bad")
    assert str(error.value).startswith(f"{place}: {words.replace('{base}', str(base))}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.jsonl", "", "empty.jsonl: the data set is empty; expected at least one row"),
        ("empty.csv", "query,response\n", "empty.csv: the data set is empty"),
        ("empty.json", "[]", "empty.json: the data set is empty"),
        ("none.jsonl", None, "none.jsonl: the data file is missing; expected a file, a folder or"),
    ],
)
def test_no_data(base: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        (base / name).write_text(text)
    with pytest.raises(PlumblineError) as error:
        load_records([DataSource(path=name)], "demonstration", base=base)
    assert words in str(error.value)
    assert error.value.exit_code == 2


def test_all_bad_rows_are_listed(base: Path) -> None:
    sources = write(base, GOOD, *(row for row, _ in CASES), GOOD)
    rejects = base / "out" / "rejects.jsonl"
    with pytest.raises(DataError) as error:
        load_records(sources, "demonstration", base=base, rejects=rejects)
    assert str(error.value).startswith(f"{len(CASES)} of {len(CASES) + 2} rows are bad:")
    listed = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [row["line"] for row in listed] == list(range(2, len(CASES) + 2))
    assert listed[1]["reason"].startswith("image")
    assert listed[1]["uid"] == "rows:3"


def test_bad_rows_are_skipped_up_to_the_share_allowed(base: Path) -> None:
    sources = write(base, *[GOOD] * 8, turns(answer=""), turns(images=["none.png"]))
    loaded = load(sources, "demonstration", base=base, on_bad_row="skip", max_bad_rows=0.2)
    assert (len(loaded.records), len(loaded.rejects), loaded.num_rows) == (8, 2, 10)
    with pytest.raises(DataError, match=r"2 of 10 rows are bad \(allowed: 19\.00%\)"):
        load(sources, "demonstration", base=base, on_bad_row="skip", max_bad_rows=0.19)


def test_uids_are_unique_over_sources_and_copies(base: Path) -> None:
    first = write(base, {**GOOD, "id": "a"}, {**GOOD, "id": "a~2"}, {**GOOD, "id": "a"})
    second = write(base, {**GOOD, "id": "a"}, GOOD, name="more.jsonl")
    heavy = [second[0].model_copy(update={"weight": 2.0})]
    uids = [
        r.uid
        for r in load_records([*first, *heavy], "demonstration", base=base)
        if isinstance(r, Sample)
    ]
    assert uids == ["a", "a~2", "a~3", "a~4", "more:2", "a~5", "more:2~2"]


def test_each_row_may_have_its_own_format_and_the_reading_is_the_algorithms(base: Path) -> None:
    sources = write(
        base,
        {"query": "Q", "response": "A", "label": True},
        {"question": "Q", "answer": "A", "label": False},
        turns(label=True),
    )
    records = load_records(sources, "labelled", base=base)
    assert [record.label for record in records if isinstance(record, Labelled)] == [
        True,
        False,
        True,
    ]
