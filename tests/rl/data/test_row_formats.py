"""The contract of row formats: every file of the folder is found by itself, and its examples are
read as they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.core import Labelled, Preference, Sample
from rl.data.drafts import formats
from rl.data.rows import Reading, sample_of, to_record
from rl.data.sources import Row
from rl.errors import DataError
from rl.plugins import names

KINDS = {"demonstration": Sample, "preference": Preference, "labelled": Labelled, "group": Sample}
NAMES = names("rl.data.row_formats")
EXAMPLES = [
    pytest.param(name, reading, row, id=f"{name}-{reading}")
    for name in NAMES
    for reading, row in formats()[name].examples.items()
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def row_of(value: Mapping[str, Any]) -> Row:
    return Row("data/rows.jsonl", 3, 2, dict(value))


@pytest.mark.parametrize("name", NAMES)
def test_a_format_says_its_key_and_shows_rows(name: str) -> None:
    found = formats()[name]
    assert found.name == name
    assert found.examples
    assert set(found.examples) <= set(get_args(Reading))
    keys = [other.key for other in formats().values()]
    assert keys.count(found.key) == 1, f"the key {found.key} marks two formats"


@pytest.mark.parametrize(("name", "reading", "value"), EXAMPLES)
def test_an_example_is_found_by_its_key(name: str, reading: Reading, value: dict[str, Any]) -> None:
    marks = [other for other, found in formats().items() if value.get(found.key) is not None]
    assert marks == [name]
    record = to_record(row_of(value), reading)
    assert isinstance(record, KINDS[reading])
    assert record == to_record(row_of(value), reading, format=name)
    sample = sample_of(record)
    assert any(message.role == "user" for message in sample.messages)
    listed = value.get("images", value.get("image"))
    assert listed is None or sample.images
    assert reading != "group" or sample.references


@pytest.mark.parametrize(("name", "reading", "value"), EXAMPLES)
def test_a_row_without_the_key_is_told(name: str, reading: Reading, value: dict[str, Any]) -> None:
    key = formats()[name].key
    rest = {other: item for other, item in value.items() if other != key}
    with pytest.raises(DataError, match=rf"rows\.jsonl:3 uid rows:3: the row has no {key}"):
        to_record(row_of(rest), reading, format=name)


@pytest.mark.parametrize(("name", "reading", "value"), EXAMPLES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_value_is_a_record_or_told(
    name: str, reading: Reading, value: dict[str, Any], data: st.DataObject
) -> None:
    changed = dict(value)
    for key in data.draw(st.lists(st.sampled_from(sorted(value)), min_size=1, unique=True)):
        changed[key] = data.draw(JSON)
    try:
        read: object = to_record(row_of(changed), reading, format=name)
    except DataError as error:
        read = error
    assert isinstance(read, (KINDS[reading], DataError))
    place = read.where if isinstance(read, DataError) else ""
    assert not place or place.startswith("data/rows.jsonl:3 uid ")
