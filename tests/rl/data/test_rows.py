"""Golden rows of every format in every reading; any JSON is a record or a DataError."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.core import Answer, Image, Labelled, Message, Preference, Sample, Text
from rl.data.load import load_records
from rl.data.rows import Reading, to_record
from rl.data.sources import DataSource, Row
from rl.errors import DataError


def user(*parts: str | int) -> Message:
    return Message("user", tuple(Text(p) if isinstance(p, str) else Image(p) for p in parts))


def said(text: str, loss: bool | None = None) -> Message:
    return Message("assistant", (Text(text),), loss)


def read(value: dict[str, Any], reading: Reading) -> Any:
    return to_record(Row("data/rows.jsonl", 3, 2, value), reading)


MESSAGES = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."}]

SFT: list[tuple[dict[str, Any], list[Message], int]] = [
    ({"messages": MESSAGES, "images": ["c.jpg"]}, [user(0, "What?"), said("A cat.")], 1),
    (
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "This"},
                        {"type": "image"},
                        {"type": "image_url", "image_url": {"url": "b.png"}},
                    ],
                },
                {"role": "assistant", "content": "No", "loss": False},
            ],
            "images": ["a.png"],
        },
        [Message("system", (Text("Be short."),)), user("This", 0, 1), said("No", False)],
        2,
    ),
    (
        {
            "id": "1",
            "image": "a.jpg",
            "conversations": [
                {"from": "human", "value": "What?\n<image>"},
                {"from": "gpt", "value": "A dog"},
            ],
        },
        [user("What?\n", 0), said("A dog")],
        1,
    ),
    ({"image": "a", "text": "Which?", "answer": "A dog"}, [user(0, "Which?"), said("A dog")], 1),
    (
        {"image": "a.jpg", "text": [{"from": "user", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        [user(0, "Q"), said("A")],
        1,
    ),
    (
        {"instruction": "Add", "input": "1 2", "output": "3"}
        | {"system": "S", "history": [["a", "b"]]},
        [Message("system", (Text("S"),)), user("a"), said("b"), user("Add\n1 2"), said("3")],
        0,
    ),
    ({"query": "<image> or <image>?", "response": "a", "images": ["a", "b"]},
     [user(0, " or ", 1, "?"), said("a")], 2),
    ({"prompt": "Q", "completion": "A"}, [user("Q"), said("A")], 0),
    (
        {
            "prompt": [{"role": "user", "content": "Q"}],
            "completion": [{"role": "assistant", "content": "A"}],
        },
        [user("Q"), said("A")],
        0,
    ),
    ({"question": "Q", "answer": "A", "image": {"bytes": b"x", "path": None}},
     [user(0, "Q"), said("A")], 1),
]  # fmt: skip


@pytest.mark.parametrize(("value", "messages", "num_images"), SFT)
def test_sft_rows(value: dict[str, Any], messages: list[Message], num_images: int) -> None:
    sample = read(value, "demonstration")
    assert list(sample.messages) == messages
    assert len(sample.images) == num_images
    assert sample.uid == ("1" if "id" in value else "rows:3")


@pytest.mark.parametrize(("value", "messages", "num_images"), SFT)
def test_the_answer_of_an_sft_row_is_the_reference_of_a_prompt(
    value: dict[str, Any], messages: list[Message], num_images: int
) -> None:
    sample = read(value, "group")
    assert list(sample.messages) == messages[:-1]
    assert sample.references == (messages[-1].text,)
    assert len(sample.images) == num_images


@pytest.mark.parametrize(("value", "messages", "num_images"), SFT)
def test_any_answered_row_with_a_label_is_a_labelled_one_and_with_a_rejected_answer_a_pair(
    value: dict[str, Any], messages: list[Message], num_images: int
) -> None:
    labelled = read({**value, "label": False}, "labelled")
    assert isinstance(labelled, Labelled)
    assert (labelled.answer.text, labelled.label) == (messages[-1].text, False)
    pair = read({**value, "rejected_response": "wrong"}, "preference")
    assert isinstance(pair, Preference)
    assert (pair.chosen.text, pair.rejected.text) == (messages[-1].text, "wrong")
    assert list(pair.sample.messages) == list(labelled.sample.messages) == messages[:-1]
    assert len(pair.sample.images) == num_images


def test_sampled_answers_keep_their_ids_and_scores() -> None:
    prompt = {"messages": MESSAGES[:1], "images": ["c.jpg"]}
    pair = read(
        {
            **prompt,
            "chosen": "a",
            "rejected": "",
            "chosen_ids": [5, 2],
            "rejected_ids": [2],
            "chosen_score": 1.0,
            "rejected_score": 0.0,
        },
        "preference",
    )
    assert (pair.chosen, pair.rejected) == (Answer("a", (5, 2)), Answer("", (2,)))
    assert pair.sample.meta == {"chosen_score": 1.0, "rejected_score": 0.0}
    for key in ("answer", "completion"):
        row = {**prompt, key: "a", "answer_ids": [5, 2], "label": True, "score": 1.0}
        one = read(row, "labelled")
        assert one.answer == Answer("a", (5, 2))
        assert one.sample.meta == {"score": 1.0}


def test_pairs_of_turns_hold_their_prompt() -> None:
    def side(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "<image>Q"}, {"role": "assistant", "content": answer}]

    pair = read({"chosen": side("a"), "rejected": side("b"), "image": "x.png"}, "preference")
    assert list(pair.sample.messages) == [user(0, "Q")]
    assert (pair.chosen.text, pair.rejected.text, len(pair.sample.images)) == ("a", "b", 1)
    pair = read({"prompt": "Q", "chosen": side("a")[1:], "rejected": side("b")[1:]}, "preference")
    assert (pair.sample.messages, pair.chosen.text) == ((user("Q"),), "a")


def test_prompts_keep_references_and_every_other_key() -> None:
    row = {"messages": MESSAGES[:1], "images": ["c.jpg"], "solution": "red", "skill": "colour"}
    sample = read(row, "group")
    assert sample.references == ("red",)
    assert sample.meta == {"solution": "red", "skill": "colour"}
    assert read({"question": "Q", "answers": ["a", "b", "a"]}, "group").references == (
        "a",
        "b",
        "a",
    )
    assert read({"question": "Q", "solution": 3}, "group").references == ("3",)
    assert read({"text": "Tell me"}, "group").messages == (user("Tell me"),)


BAD: list[tuple[Reading, dict[str, Any], str]] = [
    ("demonstration", {}, "no known format"),
    (
        "demonstration",
        {"messages": MESSAGES, "query": "x"},
        "keys of 2 formats: messages and query",
    ),
    ("demonstration", {"messages": MESSAGES}, "more <image> marks than images (1 marks, 0 images)"),
    (
        "demonstration",
        {"messages": MESSAGES, "images": ["a", "b"]},
        "more images than <image> marks",
    ),
    ("demonstration", {"messages": MESSAGES[:1], "images": ["a"]}, "no answer to learn"),
    ("demonstration", {"query": "Q", "response": " "}, "response is empty"),
    ("demonstration", {"query": "", "response": "a"}, "query is empty"),
    ("demonstration", {"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
    ("demonstration", {"messages": "x"}, "messages is 'x'; expected a list of turns"),
    ("demonstration", {"messages": [{"role": "assistant", "content": "x"}]}, "no user turn"),
    ("demonstration", {"messages": MESSAGES, "images": ["https://x/y.png"]}, "is a URL"),
    ("demonstration", {"query": "Q", "response": "A", "videos": ["a.mp4"]}, "holds videos"),
    ("demonstration", {"query": "Q", "response": "A", "completion": "B"}, "two answers"),
    ("demonstration", {"query": "Q", "response": "A", "image": 3}, "an image is given as a int"),
    (
        "demonstration",
        {"query": "Q", "response": "A", "image": "data:image/png;base64,@"},
        "no base64",
    ),
    ("preference", {"prompt": "Q", "chosen": "a"}, "no rejected answer"),
    ("preference", {"prompt": "Q", "chosen": "a", "rejected": "a"}, "are equal"),
    ("preference", {"prompt": "Q", "chosen": "a", "rejected": ""}, "rejected is empty"),
    (
        "preference",
        {"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_ids": [-1]},
        "token ids",
    ),
    ("labelled", {"prompt": "Q", "completion": "a"}, "label is missing"),
    ("labelled", {"prompt": "Q", "completion": "a", "label": 1}, "label is 1"),
    ("group", {"question": "Q", "solution": ""}, "solution is empty"),
]


@pytest.mark.parametrize(("reading", "value", "words"), BAD)
def test_a_bad_row_is_told_with_its_place(
    reading: Reading, value: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as error:
        read({"id": "a", **value}, reading)
    assert words in str(error.value)
    assert str(error.value).startswith("data/rows.jsonl:3 uid a: ")
    assert "\n" not in str(error.value)


def test_a_users_own_format(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rl.core import Message, Sample, Text\n"
        "def sample(row):\n"
        "    return Sample('', (Message('user', (Text(row['q']),)),))\n"
        "def mapping(row):\n"
        "    return {'query': row['q'], 'response': 'yes'}\n"
    )
    row = Row("rows.jsonl", 1, 0, {"q": "Q"})
    made = to_record(row, "group", format="./mine.py:sample", base=tmp_path)
    assert made == Sample("rows:1", (user("Q"),))
    made = to_record(row, "demonstration", format="./mine.py:mapping", base=tmp_path)
    assert isinstance(made, Sample)
    assert made.messages == (user("Q"), said("yes"))
    with pytest.raises(DataError, match=r"returned a Sample; expected a Preference"):
        to_record(row, "preference", format="./mine.py:sample", base=tmp_path)
    with pytest.raises(DataError, match=r"raised KeyError: 'q'"):
        to_record(Row("r", 1, 0, {}), "demonstration", format="./mine.py:mapping", base=tmp_path)


def test_a_format_by_name_settles_a_conflict() -> None:
    row = Row("r", 1, 0, {"query": "Q", "prompt": "P", "response": "A"})
    made = to_record(row, "demonstration", format="query")
    assert isinstance(made, Sample)
    assert made.messages[0] == user("Q")
    assert made.meta == {"prompt": "P"}


def test_images_of_every_form(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (3, 2)).save(buffer, format="PNG")
    (tmp_path / "a b.png").write_bytes(buffer.getvalue())
    encoded = base64.b64encode(buffer.getvalue()).decode()
    forms = [
        "a b.png",
        (tmp_path / "a b.png").as_uri(),
        f"data:image/png;base64,{encoded}",
        {"bytes": encoded, "path": None},
        {"path": "a b.png"},
    ]
    rows = [{"query": "Q", "response": "A", "image": form} for form in forms]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    records = load_records([DataSource(path="rows.jsonl")], "demonstration", base=tmp_path)
    assert len({record.images[0].sha256 for record in records}) == 1  # type: ignore[union-attr]


_keys = st.sampled_from(
    ["messages", "conversations", "text", "instruction", "query", "prompt", "question", "answer",
     "response", "completion", "output", "image", "images", "role", "content", "from", "value",
     "type", "path", "url", "bytes", "chosen", "rejected", "chosen_ids", "label", "solution",
     "references", "system", "history", "input", "id", "uid", "loss", "answer_ids", "videos"]
) | st.text(max_size=3)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
_near = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "gpt", "x"]), "content": json_values}
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(_keys, json_values | st.lists(_near, max_size=3), max_size=5),
    st.sampled_from(["demonstration", "preference", "labelled", "group"]),
)
def test_any_json_is_a_record_or_a_data_error(value: dict[str, Any], reading: Reading) -> None:
    try:
        record = read(value, reading)
    except DataError:
        return
    sample = record if isinstance(record, Sample) else record.sample
    marks = [p.index for m in sample.messages for p in m.parts if isinstance(p, Image)]
    assert marks == list(range(len(sample.images)))
