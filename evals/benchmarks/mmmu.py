"""MMMU: college-level questions of 30 subjects with one to seven images, multiple choice and open.

Source: arXiv 2311.16502; MMMU-Benchmark/MMMU@bb0b95a94599, mmmu/utils/eval_utils.py.

Licence: Apache 2.0 (annotations).

Data: `MMMU/MMMU` (30 configurations) or `lmms-lab/MMMU` (merged), split validation, 900 rows.

One row:

    {"id": "validation_Accounting_1", "question": "<image 1> Baxter Company has ... Each machine
     costs?", "options": "['$6', '$7', '$8', '$9']", "explanation": "", "image_1": ...,
     "image_2": null, ..., "image_7": null, "img_type": "['Tables']", "answer": "B",
     "topic_difficulty": "Medium", "question_type": "multiple-choice", "subfield": "Managerial
     Accounting"}

"<image N>" may be anywhere, in options too, and may repeat. The answer of an open question may be a
list literal of accepted texts or numbers; a number counts as the text that it is written as (the
official code reads texts only and fails at a number).

Rules for letters are in `rewards/letters.py`, for open answers in `_mmmu_open.py`. `official` is
MMMU's own code without its random letter for what cannot be read. `lmms_eval` has its own letter
rule, and by it every open answer is wrong (it compares a text character by character). `vlmevalkit`
asks an open question as a choice between the reference and "Other Answers". Of several reference
letters any is right, in `vlmevalkit` the first.

Score: the share of right answers; also by kind, subject and domain.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from evals.accuracy import AccuracyBenchmark, group_means
from evals.asking.messages import cluster_of, user_message
from evals.benchmarks._mmmu_open import mmmu_forms, mmmu_open_answers, mmmu_open_is_right
from evals.choices import (
    CLOSING,
    Options,
    by_letter,
    listed,
    option_lines,
    reference_letters,
    row_options,
    vlmevalkit_prompt,
)
from evals.data.items import Item, ItemScore, PartName, Row, mean_of, response_text, verdict
from evals.data.layout import HubData, lmms_lab
from rewards.letters import DECLINED, letter_mmmu, letter_mmmu_lmms_eval, letter_vlmevalkit
from rl.core import ImageSource, Sample
from rl.errors import DataError

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine"),
        *("Pharmacy", "Public_Health"),
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics"),
        *("Energy_and_Power", "Materials", "Mechanical_Engineering"),
    ),
}
_DOMAIN_OF = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects}
_CHOICE, _OPEN = "multiple-choice", "open"
_IMAGES = tuple(f"image_{number}" for number in range(1, 8))
_MARK = re.compile(r"<image (\d+)>")
_SUBJECT = re.compile(r"[^_]+_(.+)_\d+")
_OPEN_CLOSING = "Answer the question using a single word or phrase."


class MMMU(AccuracyBenchmark):
    """MMMU's validation set: the share of right answers over all questions."""

    id: ClassVar[str] = "mmmu"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://mmmu-benchmark.github.io"
    licence: ClassVar[str] = "Apache 2.0 (annotations)"
    hub_ids: ClassVar[dict[str, HubData]] = {
        "MMMU/MMMU": HubData("validation", tuple(sorted(_DOMAIN_OF))),
        **lmms_lab("MMMU", HubData("validation")),
    }
    expected_rows: ClassVar[int] = 900
    columns: ClassVar[tuple[str, ...]] = (
        *("id", "question", "options", "image_1", "answer"),
        *("question_type", "subfield", "topic_difficulty"),
    )
    image_columns: ClassVar[tuple[str, ...]] = _IMAGES
    max_new_tokens: ClassVar[int] = 128
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "id": f"validation_Accounting_{kind}",
            "question": "<image 1> What does each machine cost?",
            "options": options,
            "explanation": "",
            "img_type": "['Tables']",
            "answer": answer,
            "topic_difficulty": "Medium",
            "question_type": kind,
            "subfield": "Managerial Accounting",
        }
        for kind, options, answer in (
            (_CHOICE, "['$6', '$7', '$8', '$9']", "B"),
            (_OPEN, "[]", "7"),
        )
    )

    is_lmms_eval: bool = False  # set by `for_profile`

    def load(
        self,
        path: str | Path,
        part: PartName | None = None,
        *,
        profile: str = "official",
        prompt: str | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """As `Benchmark.load`; the profile decides where the images go. Raises: DataError."""
        chosen = self.for_profile(profile)
        return super(MMMU, chosen).load(path, part, profile=profile, prompt=prompt, limit=limit)

    def prompt(self, row: Row, profile: str) -> str:
        """Question, options and closing line, "<image N>" still in place."""
        question, options = str(row["question"]), _options(row)
        is_choice = row["question_type"] == _CHOICE
        if profile == "vlmevalkit":
            return vlmevalkit_prompt(question, options if is_choice else {})
        if not is_choice:
            gap = "\n\n" if profile == "lmms_eval" else "\n"
            return f"{question}{gap}{_OPEN_CLOSING}"
        if profile == "lmms_eval":
            return f"{question}\n{option_lines(options)}\n\n{CLOSING}"
        lines = "".join(f"({letter}) {text}\n" for letter, text in options.items())
        return f"{question}\n{lines}\n{CLOSING}"

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The question with its images, each at its "<image N>"; images that no text names go
        first.

        In `lmms_eval` only the images that are named are given, all before the text, and the text
        keeps the names. Raises: DataError for an answer that is no option, or an "<image N>"
        without its image.
        """
        options, references = _options(row), _references(row)
        if row["question_type"] == _CHOICE and references[0] not in options:
            raise DataError(f"answer {row['answer']!r}", expected=f"one of {', '.join(options)}")
        given = [column for column in _IMAGES if _holds_image(row.get(column))]
        marks = {f"<image {name.removeprefix('image_')}>": at for at, name in enumerate(given)}
        for mark in _MARK.finditer(prompt):
            if images and mark[0] not in marks:
                raise DataError(
                    f"{row['id']}: {mark[0]} is in the text, and image_{mark[1]} is empty",
                    expected=f"an image, or an <image N> of {', '.join(given)}",
                )
        if self.is_lmms_eval and images:
            images = tuple(images[at] for mark, at in marks.items() if mark in prompt)
        placed = None if self.is_lmms_eval or not images else marks
        sample = Sample(
            uid=f"mmmu-{row['id']}",
            messages=(user_message(prompt, images, placed),),
            images=images,
            references=tuple(references),
        )
        match = _SUBJECT.fullmatch(str(row["id"]))
        subject = match[1] if match else str(row["subfield"])
        columns: dict[str, Any] = {
            "question_type": str(row["question_type"]),
            "domain": _DOMAIN_OF.get(subject, ""),
            "subfield": str(row["subfield"]),
            "topic_difficulty": str(row["topic_difficulty"]),
        }
        if options:
            columns["options"] = list(options.values())
        cluster = cluster_of(images, str(row["question"]))
        return Item(sample, str(row["question"]), cluster, subject, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the answer read is right. Raises: DataError."""
        text = response_text(row, self.id)
        if _is_choice(row):
            options = row_options(row, self.id)
            accepted = reference_letters(row, self.id)
            if profile == "vlmevalkit":
                accepted = accepted[:1]
            letter = _letter(text, options, profile)
            is_parsed = letter is not None and letter != DECLINED
            return verdict(row, float(letter in accepted), letter, is_parsed=is_parsed)
        given = _accepted(row)
        if profile == "vlmevalkit":
            return _as_choice(row, text, given)
        references = [str(answer) for answer in given]
        stated = mmmu_open_answers(text)
        if profile == "lmms_eval":
            # Kept on purpose: it looks for a reference in single characters of the answer, where
            # only an empty reference can be found.
            right = "" in [form for answer in references for form in mmmu_forms(answer)]
            is_right = right and stated != [""]
        else:
            is_right = mmmu_open_is_right(stated, references)
        return verdict(row, float(is_right), _read(stated[0]), is_parsed=stated != [""])

    def aggregate(
        self, rows: Sequence[Row], scores: Sequence[ItemScore], profile: str = "official"
    ) -> dict[str, Any]:
        """Accuracy, by kind, by subject and by domain; a kind without rows is None."""
        kinds: dict[bool, list[ItemScore]] = {True: [], False: []}
        for row, score in zip(rows, scores, strict=True):
            kinds[_is_choice(row)].append(score)
        scored = [score for score in scores if score.score is not None]
        named = [{**row, **_subject_and_domain(row)} for row in rows]
        return {
            "accuracy": mean_of(scores),
            "multiple_choice": mean_of(kinds[True]),
            "open": mean_of(kinds[False]),
            "subjects": group_means(named, scores, "subject"),
            "domains": group_means(named, scores, "domain"),
            "parse_rate": sum(map(self.is_parsed, scored)) / len(scored) if scored else None,
        }

    def for_profile(self, profile: str) -> MMMU:
        """This benchmark with the profile's maximum score and place of images."""
        chosen = copy.copy(self)
        chosen.is_lmms_eval = profile == "lmms_eval"
        return chosen

    def max_score(self, rows: Sequence[Row]) -> float:
        """1; in `lmms_eval` the share of questions that can be right, those with options."""
        can_be = [not self.is_lmms_eval or _is_choice(row) for row in rows]
        return sum(can_be) / len(can_be) if can_be else 1.0

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether a letter or an open answer was read."""
        return score.parsed not in (None, "", DECLINED)

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing letters scores on average; an open question counts 0."""
        chances = [1 / len(row_options(row, self.id)) if _is_choice(row) else 0.0 for row in rows]
        return sum(chances) / len(chances) if chances else None


def _holds_image(value: Any) -> bool:
    """Whether an image column is filled."""
    if isinstance(value, Mapping):
        return bool(value.get("bytes") or value.get("path"))
    return bool(value)


def _options(row: Row) -> Options:
    """A data row's options, on the hub a text that holds a list literal. Raises: DataError."""
    options = row["options"]
    found = listed(options) if isinstance(options, str) else options
    if not isinstance(found, list):
        raise DataError(
            f"options are {options!r}"[:200], expected="a list of texts, or a text that holds one"
        )
    return by_letter(found)


def _references(row: Row) -> list[str]:
    if row["question_type"] == _CHOICE:
        return [str(row["answer"]).strip().upper()]
    return [str(answer) for answer in _flat([row["answer"]])]


def _flat(references: Any) -> list[str | float]:
    """The accepted open answers: a reference that is a list literal gives all its members.

    >>> _flat(["['7', '7.0']", "seven"])
    ['7', '7.0', 'seven']
    """
    flat: list[str | float] = []
    for reference in references:
        found = listed(reference) if isinstance(reference, str) else reference
        if isinstance(found, list) and found and all(map(_is_answer, found)):
            flat += found
        else:
            flat.append(str(reference))
    return flat


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_choice(row: Row) -> bool:
    kind = row.get("question_type", _CHOICE if row.get("options") else _OPEN)
    if kind not in (_CHOICE, _OPEN):
        raise DataError(
            f"question_type {kind!r}",
            where=f"mmmu {row.get('sample_id', '?')}",
            expected=f"{_CHOICE} or {_OPEN}",
        )
    return bool(kind == _CHOICE)


def _accepted(row: Row) -> list[str | float]:
    """A response row's accepted open answers. Raises: DataError where they are no list."""
    references = row.get("references")
    if isinstance(references, str):
        references = [references]
    if (
        not isinstance(references, Sequence)
        or not references
        or not all(_is_answer(one) or isinstance(one, list) for one in references)
    ):
        raise DataError(
            f"references are {references!r}"[:200],
            where=f"mmmu {row.get('sample_id', '?')}",
            expected="a list of texts",
        )
    return _flat(references)


def _letter(text: str, options: Options, profile: str) -> str | None:
    if profile == "vlmevalkit":
        return letter_vlmevalkit(text, options)
    read = letter_mmmu_lmms_eval if profile == "lmms_eval" else letter_mmmu
    return read(text, list(options.values()))


def _as_choice(row: Row, text: str, references: Sequence[str | float]) -> ItemScore:
    """VLMEvalKit's verdict on an open question: A is the reference, B "Other Answers".

    Kept on purpose: where the reference itself is a capital letter, that program looks for it and
    not for A.
    """
    answer = str(references[0] if len(references) == 1 else list(references))
    letter = letter_vlmevalkit(text, {"A": answer, "B": "Other Answers"})
    wanted = answer if len(answer) == 1 and "A" <= answer <= "Z" else "A"
    is_parsed = letter is not None and letter != DECLINED
    return verdict(row, float(letter == wanted), letter, is_parsed=is_parsed)


def _read(answer: str | float) -> str | float | None:
    """An answer as JSON can hold it: an empty text becomes None, infinity and nan become text."""
    if isinstance(answer, float) and not math.isfinite(answer):
        return str(answer)
    return None if answer == "" else answer


def _subject_and_domain(row: Row) -> dict[str, str | None]:
    """The row's subject and domain (or the domain of its subject); None where it has none."""
    subject = _subject(row)
    domain = row.get("domain") or _DOMAIN_OF.get(subject or "")
    return {"subject": subject, "domain": str(domain) if domain else None}


def _subject(row: Row) -> str | None:
    """The category, or the subject in the row's own id ("validation_Accounting_1")."""
    if row.get("category") is not None:
        return str(row["category"])
    match = _SUBJECT.fullmatch(str(row.get("id") or row.get("sample_id", "")))
    return match[1] if match else None
