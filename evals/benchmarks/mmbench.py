"""MMBench: every question is asked once for each rotation of its options, so that a model which
always says A gains nothing.

Source: arXiv 2307.06281; open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/
multiple_choice.py (circular evaluation).

Licence: Apache 2.0.

Data: `lmms-lab/MMBench`, configuration en (cn and cc by a path), split dev, 4329 rows. The rows
with `index` q, q + 1,000,000, q + 2,000,000, ... are the rotations of question q.

One row:

    {"index": 241, "question": "Identify the question that can be answered.", "hint": "nan",
     "answer": "A", "A": "Can it?", "B": "Does it?", "C": "nan", "D": "nan",
     "category": "identity_reasoning", "image": ..., "source": "scienceqa",
     "L2-category": "attribute_reasoning", "comment": "nan", "split": "dev"}

Rules: `official` and `vlmevalkit` are VLMEvalKit's exact matching. `lmms_eval` is its static rule
without a judge (`letter_mmbench_lmms_eval` below).

Scores: `circular`, the share of questions that are right in every rotation, is the primary one.
`vanilla` is the share of right answers to the unrotated questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from evals.accuracy import cell_sums
from evals.choices import (
    CLOSING,
    ChoiceBenchmark,
    Options,
    option_lines,
    row_letter,
    row_options,
)
from evals.data.items import ItemScore, Row
from evals.data.layout import HubData, lmms_lab
from evals.scoring.stats import Floats
from rewards.letters import FAILED_CALL, LETTERS, letter_lmms_eval
from rl.errors import DataError

_ROTATION = 1_000_000
_LETTERS = LETTERS[:4]
_ABSENT = (None, "", "nan")
_L2 = ("l2_category", "L2-category", "l2-category")


class MMBench(ChoiceBenchmark):
    """MMBench: the share of questions that are right in every rotation of their options."""

    id: ClassVar[str] = "mmbench"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://mmbench.opencompass.org.cn"
    licence: ClassVar[str] = "Apache 2.0"
    hub_ids: ClassVar[dict[str, HubData]] = lmms_lab("MMBench", HubData("dev", ("en",)))
    expected_rows: ClassVar[int] = 4329
    columns: ClassVar[tuple[str, ...]] = (
        *("index", "question", "hint", "answer", *_LETTERS),
        *("category", "image", "L2-category"),
    )
    max_new_tokens: ClassVar[int] = 128
    primary_name: ClassVar[str] = "circular"
    primary_rule: ClassVar[str] = (
        "The share of questions answered rightly under every rotation of their options."
    )
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "index": 241 + rotation * _ROTATION,
            "question": "Identify the question that can be answered.",
            "hint": "nan",
            "answer": answer,
            "A": texts[0],
            "B": texts[1],
            "C": "nan",
            "D": "nan",
            "category": "identity_reasoning",
            "source": "scienceqa",
            "L2-category": "attribute_reasoning",
            "comment": "nan",
            "split": "dev",
        }
        for rotation, answer, texts in (
            (0, "A", ("Can it swim?", "Does it fly?")),
            (1, "B", ("Does it fly?", "Can it swim?")),
        )
    )

    def options(self, row: Row) -> Options:
        """The options A to D, without those that the data marks as absent ("nan")."""
        return {letter: str(row[letter]) for letter in _LETTERS if row.get(letter) not in _ABSENT}

    def answer(self, row: Row) -> str:
        return str(row["answer"]).strip().upper()

    def hint(self, row: Row) -> str:
        return "" if row["hint"] in _ABSENT else str(row["hint"])

    def prompt(self, row: Row, profile: str) -> str:
        """As every `ChoiceBenchmark`; in `lmms_eval` that program's own form."""
        if profile != "lmms_eval":
            return super().prompt(row, profile)
        start = f"{self.hint(row)} " if self.hint(row) else ""
        lines = option_lines(self.options(row))
        return f"{start}{row['question']} There are several options:\n{lines}\n\n{CLOSING}"

    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        index = int(row["index"])
        columns = {"index": index, "l2_category": str(row["L2-category"])}
        return f"{index:07d}", str(row["category"]), columns

    def judge(self, row: Row, profile: str) -> ItemScore:
        """One rotation's verdict. Raises: DataError."""
        _index(row)
        return super().judge(_with_options(row), profile)

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter by the profile's rule. Kept on purpose: for lmms-eval an absent option is the
        text "nan", which an answer may contain.
        """
        if profile == "lmms_eval":
            options = row_options(row, self.id)
            padded = {letter: options.get(letter, "nan") for letter in _LETTERS}
            return letter_mmbench_lmms_eval(text, padded)
        return super().read(text, row, profile)

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Circular and vanilla accuracy, and circular accuracy by category and level-two category.
        They are None where no question has its unrotated row.
        """
        questions = _questions(rows, scores)
        categories: dict[str, list[bool]] = {}
        l2_categories: dict[str, list[bool]] = {}
        for base, circular, _ in questions:
            if base.get("category") is not None:
                categories.setdefault(str(base["category"]), []).append(circular)
            l2 = next((str(base[key]) for key in _L2 if base.get(key) is not None), None)
            if l2 is not None:
                l2_categories.setdefault(l2, []).append(circular)
        return {
            "circular": _share([circular for _, circular, _ in questions]),
            "vanilla": _share([vanilla for _, _, vanilla in questions]),
            "categories": {name: _share(categories[name]) for name in sorted(categories)},
            "l2_categories": {name: _share(l2_categories[name]) for name in sorted(l2_categories)},
        }

    def sums(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], layout: Sequence[str]
    ) -> tuple[list[str], Floats]:
        """For each cluster the number of questions right in every rotation, and of questions: [C,
        2].
        """
        circular = {_index(base): float(right) for base, right, _ in _questions(rows, scores)}
        values = [ItemScore(circular.get(_index(row)), "ok") for row in rows]
        return cell_sums(rows, values, [0] * len(rows), 1)

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing scores: a question with o options and r rotations is right with (1/o)^r."""
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(_index(row) % _ROTATION, []).append(row)
        chances = [
            float(np.prod([1 / len(row_options(_with_options(row), self.id)) for row in group]))
            for group in groups.values()
        ]
        return sum(chances) / len(chances) if chances else None


def _index(row: Row) -> int:
    """The row's `index`, or its sample id where that is an index. Raises: DataError."""
    index = row.get("index", row.get("sample_id"))
    try:
        if not isinstance(index, bool) and float(index) == int(float(index)):
            return int(float(index))
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(
        f"index is {index!r}",
        where=f"mmbench {row.get('sample_id', '?')}",
        expected="an integer: the question's, plus 1,000,000 for each rotation",
    )


def _with_options(row: Row) -> Row:
    """The row with `options` by letter: its own, or its columns A to D; absent ones left out."""
    options: Any = row.get("options")
    if options is None and any(letter in row for letter in _LETTERS):
        options = {letter: row.get(letter) for letter in _LETTERS}
    elif options is not None:
        options = row_options(row, "mmbench")
    if isinstance(options, Mapping):
        options = {key: text for key, text in options.items() if text not in (*_ABSENT, "None")}
    row_letter(row, "mmbench")
    return {**row, "options": options}


def _questions(rows: Sequence[Row], scores: Sequence[ItemScore]) -> list[tuple[Row, bool, bool]]:
    """(unrotated row, whether every rotation is right, whether the unrotated one is) of each
    question.

    Left out are questions without their unrotated row, and those with an error of ours.
    """
    groups: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(_index(row) % _ROTATION, []).append(number)
    questions = []
    for question, members in groups.items():
        base = [number for number in members if _index(rows[number]) == question]
        values = [scores[number].score for number in members]
        if base and None not in values:
            circular = all(value == 1.0 for value in values)
            questions.append((rows[base[0]], circular, scores[base[0]].score == 1.0))
    return questions


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


_AFFIXES = (
    *(("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ").")),
    *((":", ""), (":", ","), (":", "."), (":", ")"), (":", ").")),
)
_LETTERS_MMBENCH = LETTERS[:5]
_ARTICLE_WORDS = 3  # in an answer of more words, "A" may be an article


def letter_mmbench_lmms_eval(text: str, options: dict[str, str]) -> str | None:
    """The letter by lmms-eval's static rule for MMBench.

    In this order: the only letter that is a word of the answer; the only letter with marks around
    it; the only option whose text the answer contains; lmms-eval's shared extractor. The letters A
    to E count, however many options there are.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/mmbench/mmbench_evals.py
    (eval_method "static").

    >>> options = {"A": "teddy bear", "B": "rabbit", "C": "dog"}
    >>> letter_mmbench_lmms_eval("(B) or so", options)
    'B'
    >>> letter_mmbench_lmms_eval("A dog is there now", options)  # "A" is an article here
    'C'
    """
    letter = _option_mmbench(text)
    if letter is None:
        lowered = text.lower()
        contained = [key for key, option in options.items() if option.lower() in lowered]
        letter = contained[0] if len(contained) == 1 else None
    return letter or letter_lmms_eval(text, sorted(options))


def _option_mmbench(text: str) -> str | None:
    """The only letter that is a word of the answer, with or without marks around it."""
    if FAILED_CALL in text:
        return None
    words = text.split()
    stated = [letter for letter in _LETTERS_MMBENCH if letter in words]
    if len(stated) == 1 and not ("A" in words and len(words) > _ARTICLE_WORDS):
        return stated[0]
    for before, after in _AFFIXES:
        marked = [letter for letter in _LETTERS_MMBENCH if before + letter + after in words]
        if len(marked) == 1:
            return marked[0]
    return None
