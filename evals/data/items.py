"""What a benchmark asks and what it reads: questions, the rows of answers, and verdicts on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rl.core import Sample, Status
from rl.errors import DataError

PartName = Literal["select", "report"]
PARTS: tuple[PartName, PartName] = ("select", "report")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One question. `sample` is what the model gets; `columns` are kept in the response row.

    `cluster_id` is the hash of the images, without any of the question: questions about one image
    depend on one another. `category` is what scores are grouped by. `load` sets the rest: `origin`
    and `place` (file, file:line) say where the row stands; `problem` why it cannot be asked (no
    image): an error row.
    """

    sample: Sample
    question: str
    cluster_id: str
    category: str
    part: PartName
    columns: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    place: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ItemScore:
    """The rule's verdict on one response: `score` in [0, 1], None exactly for an error of ours;
    `parsed` is what it read. `tally` is what else the benchmark's aggregate counts.
    """

    score: float | None
    status: Status
    parsed: str | float | None = None
    tally: tuple[float, ...] = ()


def gold_answer(row: Row) -> str:
    """The most frequent reference (the first of equals)."""
    references = [str(reference) for reference in row["references"]]
    return Counter(references).most_common(1)[0][0]


def response_text(row: Row, benchmark: str) -> str:
    """The row's response. Raises: DataError where it is absent or no text."""
    response = row.get("response")
    if not isinstance(response, str):
        raise DataError(
            f"response is {response!r}",
            where=f"{benchmark} {row.get('sample_id', '?')}",
            expected="text",
            do="mend the row",
        )
    return response


def reference_texts(row: Row, benchmark: str) -> list[str]:
    """The row's references; a text is one. Raises: DataError where they are no list of texts."""
    references = row.get("references")
    if isinstance(references, str):
        return [references]
    if (
        not isinstance(references, Sequence)
        or not references
        or not all(isinstance(reference, str) for reference in references)
    ):
        raise DataError(
            f"references are {references!r}"[:200],
            where=f"{benchmark} {row.get('sample_id', '?')}",
            expected="a list of texts",
            do="mend the row",
        )
    return list(references)


def verdict(
    row: Row, value: float, parsed: str | float | None, *, is_parsed: bool = True
) -> ItemScore:
    """A score with its status: truncated where the length limit ended the answer, else unparsed or
    ok.
    """
    if row.get("finish_reason") == "length" or row.get("is_truncated") is True:
        return ItemScore(value, "truncated", parsed)
    return ItemScore(value, "ok" if is_parsed else "unparsed", parsed)


def mean_of(scores: Iterable[ItemScore]) -> float:
    """The mean score, errors left out; 0 where none is left."""
    values = [score.score for score in scores if score.score is not None]
    return float(np.mean(values)) if values else 0.0
