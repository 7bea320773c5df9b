"""How long training data takes to be compared with benchmarks, and which changed copies are found.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_contamination.py

One core. Text: a million rows of 60 words against twenty benchmarks of 5,000 questions. Pictures:
fingerprints of 640 x 480 JPEGs, then a million of them against twenty benchmarks of 1,000 pictures.
Copies: cuts of two photographs (scikit-learn's), changed, against the cuts.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from evals.contamination.ngrams import Question, TextIndex
from evals.contamination.perceptual import CROPS, HOPE, Small, centred, is_same, near
from evals.contamination.prints import print_of
from rl.core import ImageSource

ROWS, WORDS = 1_000_000, 60
BENCHMARKS, QUESTIONS, PICTURES = 20, 5_000, 1_000
COPIED = 50  # questions that are hidden in the training rows


def text() -> None:
    """Prints the seconds of a million rows of text."""
    rng = np.random.default_rng(0)
    vocabulary = [f"w{number:x}" for number in range(50_000)]
    # Words as frequent as in language: the n-th about 1/n of the first.
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    draws = rng.choice(len(vocabulary), 8_000_000, p=weights / weights.sum())

    def sentence(length: int) -> str:
        start = int(rng.integers(0, len(draws) - length))
        return " ".join(vocabulary[number] for number in draws[start : start + length])

    # Every third word of a question is its own: rows and questions share runs of two words only.
    questions, groups, at = [], [], 0
    for benchmark in range(BENCHMARKS):
        for number in range(QUESTIONS):
            length = int(rng.integers(6, 60))
            words = [vocabulary[word] for word in draws[at : at + length]]
            at += length  # no question repeats another
            own = " ".join(f"{w}q" if place % 3 == 0 else w for place, w in enumerate(words))
            questions.append(Question(own, (f"answer{number}",), has_image=number % 2 == 0))
            groups.append(f"b{benchmark}")
    rows = [sentence(WORDS) for _ in range(100_000)]
    long = [q.text for q in questions if len(q.text.split()) >= 26]
    for at, known in enumerate(long[:COPIED]):
        rows[1000 * at] += " " + known
    started = time.process_time()
    index = TextIndex(questions, groups)
    built = time.process_time()
    for _ in range(ROWS // len(rows)):
        index.add(rows)
    found = sum(covered.share >= 0.5 for covered in index.covered())
    ended = time.process_time()
    print(
        f"text: {ROWS:,} rows of {WORDS} words against {BENCHMARKS} x {QUESTIONS:,} questions: "
        f"index {built - started:.0f} s, rows {ended - built:.0f} s; "
        f"{found} questions found, {COPIED} were copied"
    )


def pictures() -> None:
    """Prints the seconds of fingerprints and of a million of them."""
    rng = np.random.default_rng(0)
    files = []
    for photo in _cuts(random.Random(0), 40, (640, 427)):
        buffer = io.BytesIO()
        photo.resize((640, 480)).save(buffer, format="JPEG", quality=90)
        files.append(ImageSource(data=buffer.getvalue()))
    started = time.process_time()
    for file in files:
        print_of(file)
    each = (time.process_time() - started) / len(files)
    trained = rng.integers(0, 2**64, ROWS, dtype=np.uint64)
    known = rng.integers(0, 2**64, BENCHMARKS * PICTURES * len(CROPS), dtype=np.uint64)
    started = time.process_time()
    pairs = sum(len(list(near(trained[at : at + 20_000], known))) for at in range(0, ROWS, 20_000))
    matched = time.process_time() - started
    print(
        f"pictures: {1000 * each:.1f} ms a fingerprint (640 x 480 JPEG; kept on disk); "
        f"{ROWS:,} against {BENCHMARKS} x {PICTURES:,} x {len(CROPS)} boxes: {matched:.0f} s, "
        f"{pairs} chance pairs"
    )


def _cuts(rng: random.Random, number: int, size: tuple[int, int] | None = None) -> list[Any]:
    found = []
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for at in range(number):
        photo = photos[at % 2]
        width, height = size or (rng.randint(160, 400), rng.randint(160, 400))
        left = rng.randint(0, max(0, photo.width - width))
        top = rng.randint(0, max(0, photo.height - height))
        found.append(photo.crop((left, top, left + width, top + height)))
    return found


def _jpeg(image: Any, quality: int) -> Any:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _cropped(image: Any, *shares: float) -> Any:
    left, top, right, bottom = shares
    box = (
        left * image.width,
        top * image.height,
        (1 - right) * image.width,
        (1 - bottom) * image.height,
    )
    return image.crop(tuple(round(edge) for edge in box))


RNG = random.Random(1)
CHANGES: dict[str, Callable[[Any], Any]] = {
    "half the size": lambda im: im.resize((im.width // 2, im.height // 2)),
    "a quarter of the size": lambda im: im.resize((im.width // 4, im.height // 4)),
    "squeezed to 224 x 224": lambda im: im.resize((224, 224)),
    "JPEG, quality 30": lambda im: _jpeg(im, 30),
    "JPEG, quality 10": lambda im: _jpeg(im, 10),
    "brightness x 1.3": lambda im: ImageEnhance.Brightness(im).enhance(1.3),
    "contrast x 0.7": lambda im: ImageEnhance.Contrast(im).enhance(0.7),
    "2 % off every side": lambda im: _cropped(im, 0.02, 0.02, 0.02, 0.02),
    "5 % off every side": lambda im: _cropped(im, 0.05, 0.05, 0.05, 0.05),
    "0 to 5 % off each side": lambda im: _cropped(im, *(RNG.uniform(0, 0.05) for _ in range(4))),
    "0 to 10 % off each side": lambda im: _cropped(im, *(RNG.uniform(0, 0.1) for _ in range(4))),
    "half the size, 3 % off, JPEG 50": lambda im: _jpeg(
        _cropped(im.resize((im.width // 2, im.height // 2)), 0.03, 0.03, 0.03, 0.03), 50
    ),
    "mirrored": lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda im: im.convert("L").convert("RGB"),
}


def _is_found(copy: Small, original: Small) -> bool:
    """The rule of evals.contamination.search for one pair."""
    mine = copy.hash()
    if mine is None:
        return False
    direction = centred(copy.cells())
    for box in CROPS:
        theirs = original.hash(box)
        if theirs is not None and (mine ^ theirs).bit_count() <= 7:
            other = centred(original.cells(box))
            alike = (direction * other).sum() / np.linalg.norm(direction) / np.linalg.norm(other)
            if alike >= HOPE and is_same(copy.cells(), original, box):
                return True
    return False


def copies() -> None:
    """Prints the share of changed copies that are found."""
    cuts = _cuts(random.Random(0), 100)
    originals = [Small.of(cut) for cut in cuts]
    print("| change | found |\n|---|---|")
    for name, change in CHANGES.items():
        pairs = zip(cuts, originals, strict=True)
        found = [_is_found(Small.of(change(cut)), small) for cut, small in pairs]
        print(f"| {name} | {100 * sum(found) / len(found):.0f} % |", flush=True)


if __name__ == "__main__":
    text()
    pictures()
    copies()
