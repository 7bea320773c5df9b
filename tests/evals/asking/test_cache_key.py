"""What an old answer's key holds: each thing that decides an answer asks again exactly the
questions that it decides.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from evals.asking.generate import EvalSettings, evaluate
from evals.registry import get_benchmark
from rl.core import ImageSource, Message, Text
from tests.evals.conftest import TableSampler, mme_rows, png, write_parquet

MME = get_benchmark("mme")
SETTINGS = EvalSettings(
    max_new_tokens=16,
    max_pixels=16384,
    backend="table 1.0",
    dtype="float32",
    chat_template="{{ messages }}",
    files="f00",
)


@pytest.fixture
def items(tmp_path):
    return MME.load(write_parquet(tmp_path / "data.parquet", mme_rows(0, 4)))


class Noting(TableSampler):
    """Notes whom it was asked."""

    def __init__(self, n: int) -> None:
        super().__init__(self._note)
        self.uids: list[str] = []
        self.n = n

    def _note(self, sample) -> Any:
        self.uids.append(sample.uid)
        return ["Yes"] * self.n


def asked(tmp_path, items, settings=SETTINGS, weights="w1") -> set[str]:
    """The questions that this evaluation asks in the folder that all share."""
    sampler = Noting(settings.n)
    evaluate(MME, items, sampler, tmp_path / "evals/sft/mme", settings=settings, weights=weights)
    assert len(set(sampler.uids)) == len(sampler.uids)
    return set(sampler.uids)


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, Mapping):
        return {**value, "top_p": 0.5}
    return (*value, ("top_p", 0.5))


@pytest.mark.parametrize("name", [field.name for field in fields(EvalSettings)])
def test_another_setting_asks_everything_again(tmp_path, items, name):
    everything = {item.sample.uid for item in items}
    assert asked(tmp_path, items) == everything
    assert asked(tmp_path, items) == set()
    changed = replace(SETTINGS, **{name: other(getattr(SETTINGS, name))})
    assert asked(tmp_path, items, changed) == everything
    assert asked(tmp_path, items, changed) == set()
    assert asked(tmp_path, items, changed, weights="w2") == everything


def with_text(item, text: str):
    [message] = item.sample.messages
    parts = tuple(Text(text) if isinstance(part, Text) else part for part in message.parts)
    return replace(item, sample=replace(item.sample, messages=(Message("user", parts),)))


def with_images(item, *data: bytes):
    images = tuple(ImageSource(data=each) for each in data)
    return replace(item, sample=replace(item.sample, images=images))


def in_a_system_message(item):
    messages = (Message("system", (Text("Be short."),)), *item.sample.messages)
    return replace(item, sample=replace(item.sample, messages=messages))


@pytest.mark.parametrize(
    "change",
    [
        lambda item: with_text(item, "Is it there? Please answer yes or no."),
        in_a_system_message,
        lambda item: with_images(item, png(99)),
        lambda item: with_images(item, png(1), png(2)),
        lambda item: with_images(item),
    ],
    ids=["text", "system", "image", "two images", "no image"],
)
def test_another_message_or_image_asks_that_question_alone(tmp_path, items, change):
    asked(tmp_path, items)
    changed = [*items[:3], change(items[3]), *items[4:]]
    assert asked(tmp_path, changed) == {"mme-00003"}
    assert asked(tmp_path, changed) == set()
    rows = (tmp_path / "evals/sft/mme/responses.jsonl").read_text().splitlines()
    assert [json.loads(row)["sample_id"] for row in rows] == [i.sample.uid for i in items]


def test_the_order_of_a_questions_images_counts(tmp_path, items):
    pair = [with_images(item, png(1), png(2)) for item in items]
    asked(tmp_path, pair)
    assert asked(tmp_path, [with_images(pair[0], png(2), png(1)), *pair[1:]]) == {"mme-00000"}


def test_what_decides_no_answer_asks_nothing_again(tmp_path, items):
    asked(tmp_path, items)
    moved = [
        replace(
            item,
            part="select",
            category="other",
            origin="elsewhere",
            sample=replace(item.sample, references=("No",)),
        )
        for item in reversed(items)
    ]
    assert asked(tmp_path, moved) == set()
