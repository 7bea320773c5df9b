"""Makes the message of a question, with its images in their places, and the item around it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.data.items import Item
from rl.core import Image, ImageSource, Message, Sample, Text
from rl.errors import DataError


def user_message(
    text: str, images: Sequence[ImageSource], marks: Mapping[str, int] | None = None
) -> Message:
    """The user's turn: first the images, then the text.

    `marks` maps a piece of text to the number of an image. An image whose mark is in the text takes
    the mark's place; only the others come first.

    >>> a, b = ImageSource(data=b"a"), ImageSource(data=b"b")
    >>> user_message("Is <image 2> larger?", (a, b), {"<image 1>": 0, "<image 2>": 1}).parts
    (Image(index=0), Text(text='Is '), Image(index=1), Text(text=' larger?'))
    """
    marks = marks or {}
    pattern = "|".join(map(re.escape, marks))
    pieces = re.split(f"({pattern})", text) if marks else [text]
    placed = {marks[piece] for piece in pieces if piece in marks}
    parts: list[Image | Text] = [Image(n) for n in range(len(images)) if n not in placed]
    parts += [Image(marks[p]) if p in marks else Text(p) for p in pieces if p]
    return Message("user", tuple(parts))


def cluster_of(images: Sequence[ImageSource], question: str) -> str:
    """The cluster of a question: the hash of its images, or of the question where it has none."""
    if not images:
        return hashlib.sha256(question.encode("utf-8", errors="surrogatepass")).hexdigest()
    if len(images) == 1:
        return images[0].sha256
    return hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()


def one_turn(
    uid: str,
    prompt: str,
    images: tuple[ImageSource, ...],
    references: Sequence[str],
    question: str,
    *,
    category: str = "all",
    marks: Mapping[str, int] | None = None,
    **columns: Any,
) -> Item:
    """The item of a question that is a single user's turn: its sample, cluster and columns.

    `prompt` is what is asked and `question` the question alone; `columns` are kept in the response
    row, where the rule may need them.
    """
    sample = Sample(uid, (user_message(prompt, images, marks),), images, tuple(references))
    return Item(sample, question, cluster_of(images, question), category, "report", columns)


def answer_list(value: Any, *, what: str = "answers", may_be_empty: bool = False) -> list[str]:
    """A data row's answers, checked. Raises: DataError where they are no list of texts."""
    if (
        not isinstance(value, list)
        or not all(isinstance(answer, str) for answer in value)
        or not (value or may_be_empty)
    ):
        raise DataError(f"{what} are {value!r}"[:200], expected="a list of texts")
    return value
