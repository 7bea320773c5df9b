"""Which questions of a benchmark are in the training data: pictures by their pixels and perceptual
hash (`perceptual`), text by n-grams (`ngrams`).

    rows = [train_row(record, "sft") for record in records]
    overlaps(rows, {"mme": items}, PrintStore())["mme"].flags   # question -> why it is suspect
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.contamination.ngrams import Covered, Question, TextIndex, words_of
from evals.contamination.perceptual import CROPS, HOPE, Box, Small, centred, is_same, near
from evals.contamination.prints import Print, PrintStore
from evals.data.items import Item
from rl.core import ImageSource, Labelled, Message, Preference, Sample, Text
from rl.data.images import open_image

# A question counts as known where training text covers at least this share of its words.
MIN_SHARE = 0.5

Record = Sample | Preference | Labelled


@dataclass(frozen=True)
class Flag:
    """Why a question is suspect. `kinds` holds `image` (one of its pictures is in the training
    data), `question` (a row with that picture asks the same words too), `text` (its words are in
    training text). `train` names a training row.
    """

    kinds: tuple[str, ...]
    text_share: float
    train: str

    def as_dict(self) -> dict[str, Any]:
        """The flag as result.json holds it."""
        return {"kinds": list(self.kinds), "text_share": self.text_share, "train": self.train}


@dataclass(frozen=True)
class Overlap:
    """A benchmark's overlap with the training data: how many of its pictures are in it, and its
    suspect questions by sample id.
    """

    num_images: int = 0
    flags: Mapping[str, Flag] = field(default_factory=dict)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """The ids of the suspect questions."""
        return tuple(self.flags)


@dataclass(frozen=True)
class TrainRow:
    """A training row as it is compared: all its text in one, and its pictures."""

    name: str
    text: str
    images: tuple[ImageSource, ...]


def train_row(record: Record, stage: str = "") -> TrainRow:
    """The row of a training record: prompt, answers and references as one text."""
    sample = record if isinstance(record, Sample) else record.sample
    texts = [message.text for message in sample.messages]
    if isinstance(record, Preference):
        texts += [record.chosen.text, record.rejected.text]
    elif isinstance(record, Labelled):
        texts.append(record.answer.text)
    texts += sample.references
    return TrainRow(
        f"{stage}:{sample.uid}" if stage else sample.uid, "\n".join(texts), sample.images
    )


def overlaps(
    rows: Sequence[TrainRow], benchmarks: Mapping[str, Sequence[Item]], store: PrintStore
) -> dict[str, Overlap]:
    """The overlap of every benchmark with these training rows. `store` keeps the fingerprints of
    pictures. A picture that cannot be decoded is not compared; training or evaluation reports it.
    """
    items = [(name, item) for name, found in benchmarks.items() for item in found]
    texts = _texts(rows, items)
    pictures = _pictures(rows, [item for _, item in items], store)
    flags: dict[str, dict[str, Flag]] = {name: {} for name in benchmarks}
    shown: dict[str, set[str]] = {name: set() for name in benchmarks}
    for (name, item), covered in zip(items, texts, strict=True):
        found = [
            (image, pictures[image.sha256])
            for image in item.sample.images
            if pictures.get(image.sha256)
        ]
        shown[name].update(image.sha256 for image, _ in found)
        if flag := _flag(item, covered, [at for _, places in found for at in places], rows):
            flags[name][item.sample.uid] = flag
    return {name: Overlap(len(shown[name]), flags[name]) for name in benchmarks}


def _flag(
    item: Item, covered: Covered, places: Sequence[int], rows: Sequence[TrainRow]
) -> Flag | None:
    kinds = []
    if places:
        kinds.append("image")
        asked = " ".join(words_of(item.question))
        if asked and any(f" {asked} " in f" {' '.join(words_of(rows[at].text))} " for at in places):
            kinds.append("question")
    if covered.share >= MIN_SHARE:
        kinds.append("text")
    if not kinds:
        return None
    row = places[0] if places else covered.row
    return Flag(tuple(kinds), round(covered.share, 3), rows[row].name if row is not None else "")


def _texts(rows: Sequence[TrainRow], items: Sequence[tuple[str, Item]]) -> list[Covered]:
    questions = [
        Question(item.question, item.sample.references, bool(item.sample.images))
        for _, item in items
    ]
    index = TextIndex(questions, [name for name, _ in items])
    index.add(row.text for row in rows)
    return index.covered()


_Places = dict[str, list[int]]  # a picture's SHA-256 -> the training rows that show it
_MAX_ROWS = 100  # training rows noted for one picture
_CHUNK = 20_000


def _pictures(rows: Sequence[TrainRow], items: Sequence[Item], store: PrintStore) -> _Places:
    """The benchmark's pictures that are in training rows, with those rows."""
    known = {image.sha256: image for item in items for image in item.sample.images}
    if not known:
        return {}
    looked_for = _Pictures(known, store)
    shown: dict[str, list[int]] = {}  # a training file -> its rows
    images: dict[str, ImageSource] = {}
    for at, row in enumerate(rows):
        for image in row.images:
            key = image.path or image.sha256
            images.setdefault(key, image)
            shown.setdefault(key, []).append(at)
    stream = zip(shown.values(), store.of(images.values()), strict=True)
    while chunk := list(islice(stream, _CHUNK)):
        looked_for.look_at([(places, found) for places, found in chunk if found is not None])
    return looked_for.places


class _Pictures:
    """The pictures of the benchmarks, and the training rows that show each of them."""

    def __init__(self, known: Mapping[str, ImageSource], store: PrintStore) -> None:
        self.places: _Places = {}
        self._by_pixels: dict[bytes, list[str]] = {}
        self._smalls: dict[str, Small] = {}
        self._boxes: list[tuple[str, Box]] = []
        hashes: list[int] = []
        cells: list[Any] = []
        for name, found in zip(known, store.of(known.values()), strict=True):
            if found is None:
                continue
            self._by_pixels.setdefault(found.pixels, []).append(name)
            if found.hash is not None:
                small = self._smalls[name] = Small.of(open_image(known[name]))
                near_by = [(box, hash) for box in CROPS if (hash := small.hash(box)) is not None]
                self._boxes += [(name, box) for box, _ in near_by]
                hashes += [hash for _, hash in near_by]
                cells += [small.cells(box) for box, _ in near_by]
        self._hashes = np.array(hashes, dtype=np.uint64)
        self._cells = _directions(cells)

    def look_at(self, trained: Sequence[tuple[list[int], Print]]) -> None:
        """Compares training pictures, given as (their rows, fingerprint), with the benchmarks'."""
        for places, found in trained:
            for name in self._by_pixels.get(found.pixels, ()):
                self._note(name, places)
        shaped = [(places, found) for places, found in trained if found.hash is not None]
        if not shaped or not len(self._hashes):
            return
        hashes = np.array([found.hash for _, found in shaped], dtype=np.uint64)
        pairs = np.array(list(near(hashes, self._hashes)), dtype=np.int64).reshape(-1, 2)
        cells = _directions([found.grid for _, found in shaped])
        for start in range(0, len(pairs), _CHUNK):
            part = pairs[start : start + _CHUNK]
            alike = (cells[part[:, 0]] * self._cells[part[:, 1]]).sum(axis=1)
            for query, other in part[alike >= HOPE].tolist():
                name, box = self._boxes[other]
                places, found = shaped[query]
                if name not in self.places and is_same(found.grid, self._smalls[name], box):
                    self._note(name, places)

    def _note(self, name: str, places: Sequence[int]) -> None:
        rows = self.places.setdefault(name, [])
        rows += [at for at in places if at not in rows][: _MAX_ROWS - len(rows)]


def _directions(cells: Sequence[Any]) -> NDArray[np.float32]:
    """Grids as unit vectors around their mean colour, so that a dot product of two is their
    correlation.
    """
    if not len(cells):
        return np.zeros((0, 1), dtype=np.float32)
    flat = np.array([centred(grid).ravel() for grid in cells], dtype=np.float32)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: NDArray[np.float32] = flat / np.maximum(length, 1e-6)
    return unit


def without_images(items: Iterable[Item]) -> list[Item]:
    """The text-only probe: the same questions without their pictures. What is still answered right
    was guessed or known.
    """
    return [replace(item, sample=_textual(item.sample)) for item in items]


def _textual(sample: Sample) -> Sample:
    messages = tuple(
        Message(
            message.role,
            tuple(part for part in message.parts if isinstance(part, Text)),
            message.loss,
        )
        for message in sample.messages
    )
    return replace(sample, messages=messages, images=())
