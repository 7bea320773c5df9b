"""GQA: compositional questions about scenes, answered by a word or two.

Source: arXiv 1902.09506; rules as lmms-eval@75571cfe0fa3 (lmms_eval/tasks/gqa/gqa.yaml) and
VLMEvalKit@e8e78f05f308 apply them.

Licence: CC BY 4.0.

Data: `lmms-lab/GQA`, split testdev of two configurations that are joined on imageId:
testdev_balanced_instructions (12578 rows, a count that no download of ours has verified:
unverified) and testdev_balanced_images.

One row:

    {"id": "201307251", "imageId": "n161313", "question": "Is it overcast?", "answer": "no",
     "fullAnswer": "No, it is not overcast.", "isBalanced": true,
     "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"},
     "groups": {"global": "weather", "local": "10s-weather"}}

Rules: answer and reference must be equal. `official` lower-cases and strips both and drops a
closing period (the authors' script expects answers in this form). `lmms_eval` ignores case and
ASCII punctuation. `vlmevalkit` lower-cases and strips.

Score: the share of right answers. Of the authors' other figures (eval.py on their website) these
are computed: `binary` and `open`, the accuracies by structure and by meaning, and `distribution`
(the chi-square distance of answers from references within groups of questions, over 100; lower is
better). Not computed: validity and plausibility (they need the authors' files of choices, which
testdev lacks), grounding (it needs the scene graphs) and consistency (it needs answers to all
entailed questions, most of which the balanced set does not ask).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import one_turn
from evals.data.items import Item, ItemScore, Row, mean_of, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.text import unpunctuated
from rl.core import ImageSource

_STRUCTURES = ("query", "verify", "logical", "choose", "compare")


class GQA(AccuracyBenchmark):
    """GQA testdev-balanced: the share of right answers. Categories are structures of questions."""

    id: ClassVar[str] = "gqa"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://cs.stanford.edu/people/dorarad/gqa"
    licence: ClassVar[str] = "CC BY 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab(
        "GQA",
        HubData(
            "testdev",
            ("testdev_balanced_instructions",),
            images=("testdev_balanced_images", "imageId"),
        ),
    )
    expected_rows: ClassVar[int] = 12578
    columns: ClassVar[tuple[str, ...]] = ("id", "imageId", "image", "question", "answer")
    max_new_tokens: ClassVar[int] = 16
    groups: ClassVar[dict[str, str]] = {"categories": "category", "semantic": "semantic"}
    examples: ClassVar[tuple[Row, ...]] = (
        {
            "id": "201307251",
            "imageId": "n161313",
            "question": "Is it overcast?",
            "answer": "no",
            "fullAnswer": "No, it is not overcast.",
            "isBalanced": True,
            "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"},
            "groups": {"global": "weather", "local": "10s-weather"},
        },
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question and the closing line."""
        return f"{row['question']}\nAnswer the question using a single word or phrase."

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The category is the question's structure (query, verify, logical, choose, compare)."""
        types, groups = _mapping(row.get("types")), _mapping(row.get("groups"))
        kept = {"semantic": types.get("semantic"), "group": groups.get("global")}
        columns: dict[str, Any] = {k: str(v) for k, v in kept.items() if v is not None}
        return one_turn(
            f"gqa-{row['id']}",
            prompt,
            images,
            (str(row["answer"]),),
            str(row["question"]),
            category=str(types.get("structural") or "all"),
            image_id=str(row["imageId"]),
            **columns,
        )

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the profile's form of response and reference are equal. Raises: DataError."""
        references = reference_texts(row, self.id)
        answer = _form(response_text(row, self.id), profile)
        return verdict(row, float(answer in {_form(r, profile) for r in references}), answer)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy, also of binary and open questions and by structure and meaning, and how far the
        distribution of the answers is from that of the references. A figure whose columns the rows
        lack is None.
        """
        metrics = super().aggregate(rows, scores, profile)
        kinds: dict[str, list[ItemScore]] = {"binary": [], "open": []}
        pairs: list[tuple[str, str, str]] = []
        for row, score in zip(rows, scores, strict=True):
            if score.score is None:
                continue
            if (structure := row.get("category")) in _STRUCTURES:
                kinds["open" if structure == "query" else "binary"].append(score)
            if row.get("group") is not None:
                reference = _form(reference_texts(row, self.id)[0], profile)
                pairs.append((str(row["group"]), reference, str(score.parsed)))
        means = {kind: mean_of(found) for kind, found in kinds.items()}
        return {**metrics, **means, "distribution": _distribution(pairs) if pairs else None}


def _distribution(pairs: Sequence[tuple[str, str, str]]) -> float:
    """The chi-square distance between answers and references, over 100, as the authors' eval.py
    computes it.

    `pairs` are (group, reference, answer). Groups are weighted by their number of questions.

    >>> _distribution([("colour", "red", "red"), ("colour", "blue", "red")])
    0.02
    """
    wanted = Counter((group, reference) for group, reference, _ in pairs)
    given = Counter((group, answer) for group, _, answer in pairs)
    sizes = Counter(group for group, _, _ in pairs)
    total = sum(sizes[key[0]] * (given[key] - count) ** 2 / count for key, count in wanted.items())
    return total / len(pairs) / 100


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _form(text: str, profile: str) -> str:
    """The form in which the profile compares a text."""
    if profile == "lmms_eval":
        # lmms-eval compares numpy arrays of texts, which lose NUL characters at the end.
        return unpunctuated(text.rstrip("\0").lower()).rstrip("\0")
    text = text.strip().lower()
    return text if profile == "vlmevalkit" else text.removesuffix(".")
