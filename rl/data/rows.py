"""One row -> one record, as the algorithm reads it.

A row is read in two steps. Its format (`rl/data/row_formats/`) turns its keys into a draft: the
turns of the prompt, the images, and the last assistant turn if there is one. Then the reading,
which the algorithm declares, makes a record of the draft:

    reading       record        what the row must hold beside the prompt
    demonstration Sample        the answer to learn
    preference    Preference    a chosen and a rejected answer
    labelled      Labelled      an answer and `label`: true (desirable) or false
    group         Sample        nothing; references for the rewards where there are any

An answer may be the last assistant turn or be under one of the keys of `_ANSWERS`. Every key of
the row that is not read is kept in `Sample.meta`, where rewards find it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rl.core import Answer, Image, ImageSource, Labelled, Message, Preference, Sample, Text
from rl.data.drafts import Draft, converter_of, images_of, read_draft
from rl.data.sources import Row
from rl.data.turns import Media, read_answer, read_messages, shown
from rl.errors import DataError, errors_as
from rl.plugins import name_of

Reading = Literal["demonstration", "preference", "labelled", "group"]
Record = Sample | Preference | Labelled

# Keys under which data sets keep an answer, references and the worse answer of a pair.
_ANSWERS = ("answer", "response", "completion", "output")
_REFERENCES = ("references", "solution", "answers")
_REJECTED = ("rejected", "rejected_response")
_RECORD_CLASS: dict[Reading, type[Record]] = {
    "demonstration": Sample,
    "preference": Preference,
    "labelled": Labelled,
    "group": Sample,
}


def to_record(
    row: Row,
    reading: Reading,
    image_root: Path | None = None,
    *,
    format: str | None = None,
    allow_urls: bool = False,
    base: Path | None = None,
) -> Record:
    """The row as a record of the reading: a Sample, a Preference or a Labelled.

    Images are named, not opened. A format that is a function (one of the folder, or a user's own
    `./mine.py:function`) gets the row's mapping and returns a record, or a mapping in one of the
    other formats. Raises: DataError with file, line, uid and what to do; ConfigError for an unknown
    `format`.

    >>> value = {"prompt": "Who purrs?", "chosen": "A cat.", "rejected": "A dog.", "source": "web"}
    >>> pair = to_record(Row("pairs.jsonl", 3, 2, value), "preference")
    >>> pair.chosen.text, pair.sample.uid, pair.sample.meta
    ('A cat.', 'pairs:3', {'source': 'web'})
    """
    if row.error is not None:
        raise _placed(row.error, row.where)
    uid = _uid(row)
    where = f"{row.where} uid {uid}"
    try:
        if (convert := converter_of(row, format, base)) is not None:
            made = _call(convert, row, format)
            if not isinstance(made, Mapping):
                return _checked(made, reading, uid)
            row, format = replace(row, value=dict(made)), None
        draft = read_draft(row, format)
        record = _READ[reading](draft, uid)
        images = images_of(draft, image_root, allow_urls)
    except DataError as error:
        raise _placed(error, where) from error
    return with_sample(record, replace(sample_of(record), images=images))


def sample_of(record: Record) -> Sample:
    """The record's prompt with its images: a Sample is its own."""
    return record if isinstance(record, Sample) else record.sample


def with_sample(record: Record, sample: Sample) -> Record:
    """The record with another prompt."""
    return sample if isinstance(record, Sample) else replace(record, sample=sample)


def _placed(error: DataError, where: str) -> DataError:
    return DataError(error.what, where=where, expected=error.expected, do=error.do)


def _uid(row: Row) -> str:
    """The row's own `uid` or `id`, else `<file stem>:<line>`."""
    for key in ("uid", "id"):
        value = row.value.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return f"{Path(row.file).stem}:{row.line}"


# --- what the four readings share -----------------------------------------------------------------


def _sample(
    draft: Draft, uid: str, messages: Sequence[Message], references: Sequence[str] = ()
) -> Sample:
    """The sample of these turns, without its images yet (`to_record` adds them)."""
    if not any(message.role == "user" for message in messages):
        raise DataError("no user turn", expected="a prompt")
    if any(message.role == "system" for message in messages[1:]):
        raise DataError("a system turn after the first turn", do="put the system turn first")
    meta = {
        key: value
        for key, value in draft.row.value.items()
        if key not in draft.taken and value is not None
    }
    return Sample(uid, tuple(messages), (), tuple(references), meta, draft.has_text_prompt)


def _answer_key(draft: Draft) -> str | None:
    """The key under which the row holds its answer. Raises: DataError where there are two."""
    found = [key for key in _ANSWERS if draft.has(key)]
    if len(found) > 1:
        raise DataError(
            f"the row has two answers: {found[0]} and {found[1]}", do="keep one of the two"
        )
    return found[0] if found else None


def _answer(draft: Draft) -> Answer | None:
    """The row's answer: its last assistant turn, or the value of its answer key; None without
    either.

    Raises: DataError where the row has both.
    """
    key = _answer_key(draft)
    if draft.final is not None:
        if key is not None:
            raise DataError(
                f"the row has two answers: its last turn and {key}", do="keep one of the two"
            )
        return Answer(_only_text(draft.final, "the last turn"))
    if key is None:
        return None
    value = draft.take(key)
    ids_key = f"{key}_ids" if draft.has(f"{key}_ids") else "answer_ids"
    ids = draft.take(ids_key)
    if isinstance(value, (list, tuple)):
        turns = read_messages(value, draft.media, key=key)
        if len(turns) != 1 or turns[0].role != "assistant":
            raise DataError(f"{key} holds other turns", expected="text or one assistant turn")
        value = _only_text(turns[0], key)
    return read_answer(value, ids, key)


def _side(draft: Draft, key: str) -> tuple[Answer, list[Message]]:
    """The answer under `chosen` or `rejected`, and the turns that its list holds before it.

    A side may be a text, one turn, or a whole conversation that repeats the prompt (TRL's format
    without a `prompt` key).
    """
    value, ids = draft.take(key), draft.take(f"{key}_ids")
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return read_answer(value, ids, key), []
    # Both sides repeat the prompt with its image marks. The marks are counted once: on the chosen
    # side, and only where the row has no prompt of its own.
    is_prompt = key == "chosen" and not draft.messages
    media = draft.media if is_prompt else Media(draft.media.listed)
    turns = read_messages(value, media, key=key)
    if turns[-1].role != "assistant":
        raise DataError(f"{key} does not end with an assistant turn", expected="the answer last")
    return read_answer(_only_text(turns[-1], key), ids, key), turns[:-1]


def _only_text(message: Message, key: str) -> str:
    if any(isinstance(part, Image) for part in message.parts):
        raise DataError(f"{key} holds an image", expected="text")
    return message.text


# --- the four readings ----------------------------------------------------------------------------


def _demonstration(draft: Draft, uid: str) -> Sample:
    """A conversation that ends with the assistant turn to learn."""
    final = draft.final
    if final is None:
        answer = _answer(draft)
        if answer is None:
            expected = f"a last assistant turn, or one of {', '.join(_ANSWERS)}"
            raise DataError("the row has no answer to learn", expected=expected)
        # Token ids excuse an empty text elsewhere. Here the text is what is learned.
        read_answer(answer.text, None, "the answer")
        final = Message("assistant", (Text(answer.text),))
    return _sample(draft, uid, [*draft.messages, final])


def _group(draft: Draft, uid: str) -> Sample:
    """A prompt whose completions are sampled, with the references that rewards compare them with.

    The references are the first of: `references`, `solution`, `answers`, an answer key, the last
    assistant turn. `solution` also stays in meta, since TRL's reward functions ask for it.
    """
    key = next((key for key in _REFERENCES if draft.has(key)), None) or _answer_key(draft)
    if key is not None:
        value = draft.row.value[key] if key == "solution" else draft.take(key)
        turns = isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value)
        answer = _answer(draft) if turns and key in _ANSWERS else None
        references = (answer.text,) if answer is not None else _texts(value, key)
    else:
        references = (draft.final.text,) if draft.final is not None else ()
    return _sample(draft, uid, draft.messages, references)


def _texts(value: Any, key: str) -> tuple[str, ...]:
    """References as texts; one that is no text (a number, a list) is written as JSON."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    texts = tuple(
        item if isinstance(item, str) else json.dumps(item, default=str) for item in values
    )
    if not texts or not all(text.strip() for text in texts):
        raise DataError(f"{key} is empty", do="fill the reference, or remove the row")
    return texts


def _labelled(draft: Draft, uid: str) -> Labelled:
    """A prompt with one answer that is desirable or not."""
    label = draft.take("label")
    if not isinstance(label, bool):
        raise DataError(f"label is {shown(label)}", expected="true or false")
    answer = _answer(draft)
    if answer is None:
        expected = f"a last assistant turn, or one of {', '.join(_ANSWERS)}"
        raise DataError("the row has no answer to judge", expected=expected)
    return Labelled(_sample(draft, uid, draft.messages), answer, label)


def _preference(draft: Draft, uid: str) -> Preference:
    """A prompt with a better and a worse answer.

    The prompt is the row's own, or is repeated inside the two answers; where it is given more than
    once, all must agree.
    """
    worse = [key for key in _REJECTED if draft.has(key)]
    if not worse:
        raise DataError("the row has no rejected answer", expected="rejected or rejected_response")
    if len(worse) > 1:
        raise DataError(f"the row has both {worse[0]} and {worse[1]}", do="keep one of the two")
    if draft.has("chosen"):
        if draft.final is not None:
            raise DataError(
                "the row has two better answers: its last turn and chosen", do="keep one of the two"
            )
        chosen, before = _side(draft, "chosen")
    else:
        answer, before = _answer(draft), []
        if answer is None:
            raise DataError("the row has no better answer", expected="chosen, or an assistant turn")
        chosen = answer
    rejected, rejected_before = _side(draft, worse[0])
    if (
        before != rejected_before
        and rejected_before
        and (before or rejected_before != draft.messages)
    ):
        raise DataError(
            "chosen and rejected begin with different prompts", expected="one prompt for both"
        )
    if before and draft.messages and before != draft.messages:
        raise DataError(
            "chosen begins with another prompt than the row's own", do="remove one of the two"
        )
    if chosen == rejected:
        raise DataError("chosen and rejected are equal", do="remove the row: it teaches nothing")
    return Preference(_sample(draft, uid, draft.messages or before), chosen, rejected)


_READ: Mapping[Reading, Callable[[Draft, str], Record]] = {
    "demonstration": _demonstration,
    "preference": _preference,
    "labelled": _labelled,
    "group": _group,
}


# --- a format that is a function ------------------------------------------------------------------


def _call(convert: Callable[[dict[str, Any]], Any], row: Row, format: str | None) -> Any:
    """What the format's function makes of the row. Raises: DataError that names the function."""
    name = format or f"format {name_of(convert)}"
    with errors_as(DataError, f"{name} raised {{error}}", wraps_ours=True):
        return convert(dict(row.value))


def _checked(made: Any, reading: Reading, uid: str) -> Record:
    """The record that a format's function returned, if it is one of the reading's class."""
    wanted = _RECORD_CLASS[reading]
    if not isinstance(made, wanted):
        raise DataError(
            f"the format's function returned a {type(made).__name__}",
            expected=f"a {wanted.__name__} or a mapping",
        )
    sample = sample_of(made)
    if not all(isinstance(image, ImageSource) for image in sample.images):
        raise DataError("the format's function returned images that are no ImageSource")
    return made if sample.uid else with_sample(made, replace(sample, uid=uid))
