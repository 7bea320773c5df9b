"""Whether training images stand in a benchmark: by hash of the decoded pixels, so a re-encoded copy
is found.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from evals.base import Item
from rl.core import ImageSource, Labelled, Preference, Sample
from rl.errors import DataError


@dataclass(frozen=True)
class Overlap:
    """The benchmark's images that were trained on: how many, and the questions that show them."""

    num_images: int
    sample_ids: tuple[str, ...]


def pixel_hash(image: ImageSource) -> str:
    """Hex digest of size and RGB pixels. Raises: DataError for an image that cannot be decoded."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.read())) as opened:
            pixels = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        where = image.path or "image bytes"
        raise DataError(f"cannot be decoded: {error}", where=where) from error
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}:".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def train_hashes(records: Iterable[Sample | Preference | Labelled]) -> set[str]:
    """The pixel hashes of every image in these training records; each encoded image is decoded
    once.
    """
    samples = (record if isinstance(record, Sample) else record.sample for record in records)
    seen: dict[str, str] = {}
    for sample in samples:
        for image in sample.images:
            key = image.path or image.sha256
            if key not in seen:
                seen[key] = pixel_hash(image)
    return set(seen.values())


def overlap(train: Collection[str], items: Sequence[Item]) -> Overlap:
    """The overlap of `train` (pixel hashes, from `train_hashes`) with the images of benchmark
    items.

    An image of the benchmark that cannot be decoded is not counted: the evaluation reports it as an
    error.
    """
    known: dict[str, str | None] = {}
    found: set[str] = set()
    questions = []
    for item in items:
        for image in item.sample.images:
            if image.sha256 not in known:
                known[image.sha256] = _hash_or_none(image)
            digest = known[image.sha256]
            if digest is not None and digest in train:
                found.add(digest)
                questions.append(item.sample.uid)
    return Overlap(len(found), tuple(dict.fromkeys(questions)))


def _hash_or_none(image: ImageSource) -> str | None:
    try:
        return pixel_hash(image)
    except DataError:
        return None
