"""What a benchmark asks and what it reads: questions, the rows of answers, and verdicts on them.

    Item       one question, as the model gets it
    Row        one line of responses.jsonl: the question's facts and the model's answer
    ItemScore  the verdict on one answer

A row is a plain mapping, so that stored answers can be scored again without a model or a
benchmark's data. What a row holds is listed in docs/evaluation.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rl.core import Sample, Status
from rl.errors import DataError, EvalError

PartName = Literal["select", "report"]
PARTS: tuple[PartName, PartName] = ("select", "report")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One question.

    A benchmark gives the first five fields:
    - `sample` is what the model gets: message, images, references.
    - `question` is the question alone, without the prompt around it.
    - `cluster_id` is the hash of the images and of nothing else. Questions about one image are not
      independent of one another, so statistics resample whole clusters.
    - `category` is what scores are grouped by.
    - `part`: select or report.

    `columns` are copied into the response row. `Benchmark.load` sets the rest: `origin` (file or
    hub id) and `place` (file:line) say where the data row is; `problem` says why the question
    cannot be asked (its image is missing), which makes an error row.

    >>> from evals.asking.messages import one_turn
    >>> item = one_turn("mine-1", "How many cats? One word.", (), ["2"], "How many cats?")
    >>> item.sample.uid, item.category, item.part
    ('mine-1', 'all', 'report')
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
    """The verdict on one answer.

    `score` is in [0, 1], and None exactly where our side failed (status `error`): such an answer is
    outside every mean. `parsed` is what the rule read in the answer. `tally` is what else the
    benchmark's aggregate counts.
    """

    score: float | None
    status: Status
    parsed: str | float | None = None
    tally: tuple[float, ...] = ()


def gold_answer(row: Row) -> str:
    """The most frequent reference; of equally frequent ones the first.

    >>> gold_answer({"references": ["stop", "go", "Stop", "go"]})
    'go'
    """
    references = [str(reference) for reference in row["references"]]
    return Counter(references).most_common(1)[0][0]


def cluster_id_of(row: Row) -> str:
    """The row's cluster, which every resampling needs. Raises: EvalError where the row has none.

    >>> cluster_id_of({"sample_id": "mme-00001", "cluster_id": None})
    Traceback (most recent call last):
    ...
    rl.errors.EvalError: answer mme-00001: no cluster_id; expected the hash of its images, as \
plumbline eval writes it. Evaluate the stage again
    """
    cluster = row.get("cluster_id")
    if cluster is None or cluster == "":
        raise EvalError(
            "no cluster_id",
            where=f"answer {row.get('sample_id', '?')}",
            expected="the hash of its images, as plumbline eval writes it",
            do="evaluate the stage again",
        )
    return str(cluster)


def response_text(row: Row, benchmark: str) -> str:
    """The row's response. Raises: DataError where it is absent or no text."""
    response = row.get("response")
    if not isinstance(response, str):
        raise DataError(
            f"response is {response!r}",
            where=f"{benchmark} {row.get('sample_id', '?')}",
            expected="text",
            do="fix the row",
        )
    return response


def reference_texts(row: Row, benchmark: str) -> list[str]:
    """The row's references; a single text is taken for a list of one. Raises: DataError where they
    are no list of texts.
    """
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
            do="fix the row",
        )
    return list(references)


def verdict(
    row: Row, value: float, parsed: str | float | None, *, is_parsed: bool = True
) -> ItemScore:
    """A score with its status. An answer that the length limit cut off is `truncated`, read or not;
    it keeps its score. Otherwise the status is `ok`, or `unparsed` where nothing could be read.

    >>> verdict({"finish_reason": "length"}, 1.0, "yes").status
    'truncated'
    >>> verdict({"finish_reason": "stop"}, 0.0, None, is_parsed=False).status
    'unparsed'
    """
    if row.get("finish_reason") == "length" or row.get("is_truncated") is True:
        return ItemScore(value, "truncated", parsed)
    return ItemScore(value, "ok" if is_parsed else "unparsed", parsed)


def mean_of(scores: Iterable[ItemScore]) -> float | None:
    """The mean score without the errors; None where no score is left.

    An error is our failure and no 0, so a file of errors alone has no mean:

    >>> wrong, failed = ItemScore(0.0, "ok"), ItemScore(None, "error")
    >>> mean_of([wrong, ItemScore(1.0, "ok"), failed]), mean_of([failed])
    (0.5, None)
    """
    values = [score.score for score in scores if score.score is not None]
    return float(np.mean(values)) if values else None
