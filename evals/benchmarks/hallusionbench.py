"""HallusionBench (images): yes/no questions about figures, some of which were edited.

A model that guesses is found out by consistency: the same question is asked about several figures,
and several questions about one figure.

Source: arXiv 2310.14566; open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/yorn.py
(Hallusion_rating).

Licence: BSD 3-Clause.

Data: `lmms-lab/HallusionBench`, split image, 951 rows.

One row:

    {"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0",
     "figure_id": "1", "sample_note": "circle", "question_id": "0", "question": "Is the right orange
     circle the same size as the left orange circle?", "gt_answer_details": "Yes", "gt_answer": "1",
     "filename": "./hallusion_bench/VD/illusion/0_1.png", "image": ...}

Rule: the answer must hold exactly the right one of the words yes and no.

Scores, in percent: `aacc` the share of right answers; `facc` the share of figures with all their
questions right; `qacc` the share of questions that are right for all their figures. `official` and
`vlmevalkit` group by subcategory and keep figure 0. `lmms_eval` groups by category and subcategory
and leaves figure 0 of category VS out of `facc`; its judge is not asked, so the verdicts are the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, mean_of, reference_texts, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from evals.scoring.stats import Floats
from rewards.yes_no import yes_no_vlmevalkit
from rl.core import ImageSource, Sample
from rl.errors import DataError

_ANSWERS = {"1": "yes", "0": "no", "yes": "yes", "no": "no"}
_KEYS = ("subcategory", "set_id", "figure_id", "question_id")
_OTHER_NAMES = {"subcategory": ("subcategory", "l2_category", "l2-category")}


class HallusionBench(AccuracyBenchmark):
    """HallusionBench's image questions: the share of right answers in percent (aAcc)."""

    id: ClassVar[str] = "hallusionbench"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://github.com/tianyi-lab/HallusionBench"
    licence: ClassVar[str] = "BSD 3-Clause"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("HallusionBench", HubData("image"))
    expected_rows: ClassVar[int] = 951
    columns: ClassVar[tuple[str, ...]] = (
        *("category", "visual_input", *_KEYS),
        *("question", "gt_answer", "image"),
    )
    max_new_tokens: ClassVar[int] = 128
    primary_name: ClassVar[str] = "aacc"
    is_yes_no: ClassVar[bool] = True
    primary_rule: ClassVar[str] = "The share of questions answered rightly, in percent."
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "category": "VD",
            "subcategory": "illusion",
            "visual_input": "1",
            "set_id": "0",
            "figure_id": "1",
            "sample_note": "circle",
            "question_id": number,
            "question": f"Is the right circle {word} the left circle?",
            "gt_answer_details": answer,
            "gt_answer": answer,
            "filename": "./hallusion_bench/VD/illusion/0_1.png",
        }
        for number, word, answer in (("0", "as large as", "1"), ("1", "larger than", "0"))
    )

    def prompt(self, row: Row, profile: str) -> str:
        """The question alone."""
        return str(row["question"])

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an answer other than 0 and 1."""
        if str(row["gt_answer"]) not in ("0", "1"):
            raise DataError(f"gt_answer {row['gt_answer']!r}", expected="0 (no) or 1 (yes)")
        columns = {key: str(row[key]) for key in (*_KEYS, "visual_input")}
        name = "_".join([str(row["category"]), columns["subcategory"], columns["visual_input"]])
        tail = "_".join(columns[key] for key in _KEYS[1:])
        sample = Sample(
            uid=f"hallusionbench-{name}_{tail}",
            messages=(user_message(prompt, images),),
            images=images,
            references=("Yes" if str(row["gt_answer"]) == "1" else "No",),
        )
        cluster, category = cluster_of(images, str(row["question"])), str(row["category"])
        return Item(sample, str(row["question"]), cluster, category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the answer holds exactly the right one of yes and no. Raises: DataError."""
        reference = _ANSWERS.get(reference_texts(row, self.id)[0].strip().lower())
        if reference is None:
            raise DataError(
                f"references are {row.get('references')!r}"[:200],
                where=f"hallusionbench {row.get('sample_id', '?')}",
                expected="yes or no (1 or 0)",
            )
        _group(row, _KEYS)
        parsed = yes_no_vlmevalkit(response_text(row, self.id))
        return verdict(row, float(parsed == reference), parsed, is_parsed=parsed != "other")

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """aAcc, fAcc and qAcc in percent, over all and by category. A figure or a question with an
        error of ours is left out. Raises: DataError.
        """
        whole = _figures(rows, scores, profile)
        categories: dict[str, dict[str, float | None]] = {}
        for category in sorted({str(row["category"]) for row in rows if "category" in row}):
            members = [n for n, row in enumerate(rows) if str(row.get("category")) == category]
            categories[category] = _figures(
                [rows[n] for n in members], [scores[n] for n in members], profile
            )
        return {**whole, "categories": categories}

    def statistic(self, totals: Floats) -> Floats:
        """The share of right answers in percent."""
        return 100 * super().statistic(totals)

    def max_score(self, rows: Sequence[Row]) -> float:
        """100."""
        return 100.0

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """50: guessing yes or no."""
        return 50.0


def _group(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    """The row's values of the columns that name a group. Raises: DataError for a missing one."""
    values = []
    for key in keys:
        names = _OTHER_NAMES.get(key, (key,))
        value = next((row[name] for name in names if row.get(name) is not None), None)
        if value is None:
            raise DataError(
                f"no {key}",
                where=f"hallusionbench {row.get('sample_id', '?')}",
                expected=f"the column {' or '.join(names)}",
                do="keep the data's own columns in the response rows",
            )
        values.append(str(value))
    return tuple(values)


def _figures(
    rows: Sequence[Row], scores: Sequence[ItemScore], profile: str
) -> dict[str, float | None]:
    """The three scores of these rows by the profile's grouping."""
    is_lmms_eval = profile == "lmms_eval"
    start = ("category", "subcategory") if is_lmms_eval else ("subcategory",)
    by_figure: dict[tuple[str, ...], list[float | None]] = {}
    by_question: dict[tuple[str, ...], list[float | None]] = {}
    for row, score in zip(rows, scores, strict=True):
        by_question.setdefault(_group(row, (*start, "set_id", "question_id")), []).append(
            score.score
        )
        if is_lmms_eval and row.get("category") == "VS" and str(row["figure_id"]) == "0":
            continue
        by_figure.setdefault(_group(row, (*start, "set_id", "figure_id")), []).append(score.score)
    return {
        "aacc": _percent(mean_of(scores)),
        "facc": _percent(_all_right(by_figure.values())),
        "qacc": _percent(_all_right(by_question.values())),
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _all_right(groups: Any) -> float | None:
    """The share of groups without a wrong answer; groups with an error left out, None where none is
    left.
    """
    whole = [all(values) for values in groups if None not in values]
    return sum(whole) / len(whole) if whole else None
