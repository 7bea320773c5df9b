"""MathVista: mathematics in figures, answered by a choice, a number or a list.

Source: arXiv 2310.02255; lupantech/MathVista, evaluation (extract_answer.py, calculate_score.py).

Licence: CC BY-SA 4.0.

Data: `AI4Math/MathVista`, split testmini, 1000 rows.

One row:

    {"pid": "1", "question": "When a spring does work on an object, ...", "image": "images/1.jpg",
     "decoded_image": ..., "choices": null, "unit": null, "precision": 1.0, "answer": "1.2",
     "question_type": "free_form", "answer_type": "float", "metadata": {"category": "math-targeted-
     vqa", "context": "scientific figure", "grade": "college", "img_height": 720, "img_width": 1514,
     "language": "english", "skills": ["scientific reasoning"], "source": "SciBench", "split":
     "testmini", "task": "textbook question answering"}, "query": "Hint: Please answer ..."}

Rules: an answer is extracted, brought to the form of the reference and compared. `official` and
`lmms_eval` extract as the authors do without their language model (`mathvista_extract`), and do not
guess the choice of the smallest edit distance as the authors' program does. `vlmevalkit` is its
exact matching, with equality of numbers. What cannot be read is unparsed; with a judge, the judge
copies the answer out of the response (our prompt, pinned by its hash), and a judge that fails makes
an error.

Score: the share of right answers; also by task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.judge import JUDGE_ERROR, JUDGEMENT, judge_text
from evals.asking.messages import cluster_of, user_message
from evals.choices import by_letter
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData
from rewards.letters import DECLINED, letter_vlmevalkit, letters_of
from rl.core import ImageSource, Sample
from rl.errors import DataError

_DECIMALS = {1: "one decimal place", 2: "two decimal places"}
_KEPT = ("question_type", "answer_type", "precision")
_QUOTES_ANSWER = 'The answer is "'
_BRACKETED_LETTER = re.compile(r"\(([a-zA-Z])\)")


class MathVista(AccuracyBenchmark):
    """MathVista's testmini: the share of right answers."""

    id: ClassVar[str] = "mathvista"
    version: ClassVar[str] = "1"
    source: ClassVar[str] = "https://mathvista.github.io"
    licence: ClassVar[str] = "CC BY-SA 4.0"
    hub_ids: ClassVar[dict[str, HubData]] = {"AI4Math/MathVista": HubData("testmini")}
    expected_rows: ClassVar[int] = 1000
    columns: ClassVar[tuple[str, ...]] = (
        *("pid", "question", "decoded_image", "choices", "unit", "precision"),
        *("answer", "question_type", "answer_type", "metadata", "query"),
    )
    image_columns: ClassVar[tuple[str, ...]] = ("decoded_image",)
    max_new_tokens: ClassVar[int] = 1024
    examples: ClassVar[tuple[Row, ...]] = tuple(
        {
            "pid": f"{kind}/1",
            "question": "What fraction of the shape is blue?",
            "choices": choices,
            "unit": None,
            "precision": precision,
            "answer": answer,
            "question_type": kind,
            "answer_type": answer_type,
            "metadata": {"task": "geometry problem solving", "skills": ["geometry reasoning"]},
            "query": "Question: What fraction of the shape is blue?",
        }
        for kind, answer_type, choices, precision, answer in (
            ("multi_choice", "text", ["3/11", "8/11"], None, "8/11"),
            ("free_form", "float", None, 2.0, "0.73"),
        )
    )
    judge_template: ClassVar[str] = (
        "A model answered a question. Copy its final answer out of its response, in the form that "
        "the hint or the choices ask for: an integer, a decimal number, a Python list, or the "
        "letter of a choice. Write that answer alone; write nothing where the response states "
        "none.\n\n"
        "Hint: Please answer the question requiring an integer answer.\nQuestion: Which number is "
        "missing?\nResponse: The sequence goes on with 14.\nAnswer: 14\n\n"
        "Choices: (A) 3/11 (B) 8/11\nQuestion: What fraction is blue?\nResponse: Three of eleven "
        "parts are not blue, so it is 8/11.\nAnswer: B\n\n"
        "{query}\nResponse: {response}\nAnswer:"
    )
    judge_attempts: ClassVar[int] = 1

    def prompt(self, row: Row, profile: str) -> str:
        """The data's own query with its hint; in `lmms_eval` the question, options and closing
        line.
        """
        if profile != "lmms_eval":
            return str(row["query"])
        unit = f" (Unit: {row['unit']})" if row.get("unit") else ""
        lines = [f"{row['question']}{unit}"]
        lines += [f"{letter}. {text}" for letter, text in by_letter(row["choices"] or ()).items()]
        return "\n".join([*lines, _closing(row)])

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """Raises: DataError for an answer that is none of the choices, or for none (split test)."""
        choices = [str(choice) for choice in row["choices"] or ()]
        answer = str(row["answer"] or "")
        if not answer or (row["question_type"] == "multi_choice" and answer not in choices):
            raise DataError(f"answer {answer!r}", expected=", ".join(choices) or "an answer")
        sample = Sample(
            uid=f"mathvista-{row['pid']}",
            messages=(user_message(prompt, images),),
            images=images,
            references=(answer,),
        )
        metadata = row["metadata"] or {}
        columns = {key: row[key] for key in _KEPT} | {
            "choices": choices,
            "query": str(row["query"]),
            "skills": list(metadata.get("skills") or ()),
        }
        category = str(metadata.get("task") or "all")
        cluster = cluster_of(images, str(row["question"]))
        return Item(sample, str(row["question"]), cluster, category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the answer in its normal form is the reference. Raises: DataError."""
        kind, form, choices, _ = _shape(row)
        text, reference = response_text(row, self.id), reference_texts(row, self.id)[0].strip()
        if profile == "vlmevalkit":
            found = _vlmevalkit(text, kind, form, choices)
        else:
            found = _normal(mathvista_extract(text, kind, form, choices), row)
        if found is None and (row.get(JUDGEMENT) is not None or row.get(JUDGE_ERROR)):
            said = judge_text(row)
            if said is None:
                return ItemScore(None, "error")
            found = _normal(mathvista_extract(said, kind, form, choices), row)
        is_right = found is not None and found.strip() == reference
        if profile == "vlmevalkit" and kind != "multi_choice" and found is not None:
            is_right = _equal_numbers(found, reference, form)
        return verdict(row, float(is_right), found, is_parsed=found is not None)

    def judge_prompt(self, row: Row) -> str | None:
        """Asks for the answer in a response that cannot be read directly."""
        kind, form, choices, _ = _shape(row)
        text = response_text(row, self.id)
        if not text.strip() or _normal(mathvista_extract(text, kind, form, choices), row):
            return None
        query = str(row.get("query") or row.get("question", ""))
        return self.judge_template.format(query=query, response=text)

    def is_judgement(self, text: str) -> bool:
        """True: whatever the judge wrote is its answer. An empty text says that there is none."""
        return True

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether an answer was read."""
        return score.parsed is not None

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing a choice scores on average; a question without choices counts 0."""
        chances = [1 / len(row["choices"]) if row.get("choices") else 0.0 for row in rows]
        return sum(chances) / len(chances) if chances else None


def _closing(row: Row) -> str:
    """lmms-eval's closing line, which says the form of the answer."""
    if row["question_type"] == "multi_choice":
        return "Answer with the option's letter from the given choices directly."
    if row["answer_type"] == "integer":
        return "Answer the question using a single integer number."
    if row["answer_type"] == "list":
        return "Answer the question using a Python list."
    places = _DECIMALS.get(int(row["precision"] or 1), f"{int(row['precision'] or 1)} decimals")
    return f"Answer the question using a single floating-point number with {places}."


def _shape(row: Row) -> tuple[str, str, list[str], float | None]:
    """(question_type, answer_type, choices, precision). Raises: DataError."""
    where = f"mathvista {row.get('sample_id', '?')}"
    stated = row.get("choices") or row.get("options") or []
    if not isinstance(stated, Sequence) or isinstance(stated, str):
        raise DataError(
            f"choices are {stated!r}"[:200],
            where=where,
            expected="a list of texts, or null",
            do="fix the row",
        )
    choices = [str(choice) for choice in stated]
    kind = row.get("question_type") or ("multi_choice" if choices else "free_form")
    form = row.get("answer_type") or "text"
    known = ("integer", "float", "list", "text")
    if kind not in ("multi_choice", "free_form") or form not in known:
        raise DataError(
            f"question_type {kind!r}, answer_type {form!r}",
            where=where,
            expected=f"multi_choice or free_form; {', '.join(known)}",
        )
    return str(kind), str(form), choices, _precision(row, where) if form == "float" else None


def _precision(row: Row, where: str) -> int | None:
    precision = row.get("precision")
    try:
        return None if precision is None else int(float(precision))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"precision is {precision!r}"[:200],
            where=where,
            expected="a number of decimals, or null",
            do="fix the row",
        ) from error


def _normal(extraction: str | None, row: Row) -> str | None:
    """The extraction in its normal form by the row's own kind of question."""
    return None if extraction is None else mathvista_normal(extraction, *_shape(row))


def _vlmevalkit(text: str, kind: str, form: str, choices: Sequence[str]) -> str | None:
    """VLMEvalKit's reading without a judge: the text of the choice, or a text that is a number."""
    if kind == "multi_choice":
        options = by_letter(choices)
        letter = letter_vlmevalkit(text, options)
        return options[letter] if letter is not None and letter != DECLINED else None
    kind_of_number = {"integer": int, "float": float}.get(form)
    if kind_of_number is None:
        return text
    try:
        return str(kind_of_number(text))
    except ValueError:
        return None


def _equal_numbers(found: str, reference: str, form: str) -> bool:
    try:
        if form in ("integer", "float"):
            return float(found) == float(reference)
    except ValueError:
        return False
    return found == reference


# --- the authors' reading -----------------------------------------------------------------------


def mathvista_extract(
    text: str, question_type: str, answer_type: str, choices: Sequence[str]
) -> str | None:
    """The answer that can be read without a judge, else None.

    It is the text of a choice, a text that is a number as a whole, the quotation in 'The answer is
    "..."', or a choice's letter where no other letter is stated.

    Source: lupantech/MathVista, evaluation/extract_answer.py (its quick extraction); the letter is
    what the authors' language model is asked for.

    >>> mathvista_extract("14", "free_form", "integer", ())
    '14'
    >>> mathvista_extract("(B) 8/11", "multi_choice", "text", ("3/11", "8/11"))
    'B'
    """
    text = text.strip()
    if question_type == "multi_choice" and text in choices:
        return text
    kind = {"integer": int, "float": float}.get(answer_type)
    if kind is not None:
        try:
            return str(kind(text))
        except ValueError:
            pass
    if (quoted := _quoted_answer(text)) is not None:
        return quoted
    if question_type == "multi_choice":
        return _choice_letter(text, choices)
    return text if answer_type == "list" and text.startswith("[") and text.endswith("]") else None


def _quoted_answer(text: str) -> str | None:
    """The text between 'The answer is "' and the last '".' of a line."""
    for line in text.split("\n"):
        start = line.find(_QUOTES_ANSWER)
        end = line.rfind('".', start + len(_QUOTES_ANSWER))
        if start >= 0 and end >= 0:
            return line[start + len(_QUOTES_ANSWER) : end]
    return None


def _choice_letter(text: str, choices: Sequence[str]) -> str | None:
    """The letter of a choice: the only one in brackets, or one at the start ("B", "B. 8/11")."""
    letters = letters_of(choices)
    bracketed = set(_BRACKETED_LETTER.findall(text))
    if len(bracketed) == 1:
        letter = bracketed.pop().upper()
        return letter if letter in letters else None
    alone = re.fullmatch(r"([A-Z])(?:[.:)]\s.*|[.:)]?)", text, re.DOTALL)
    return alone[1] if alone and alone[1] in letters and not bracketed else None


def mathvista_normal(
    extraction: str,
    question_type: str,
    answer_type: str,
    choices: Sequence[str],
    precision: float | None,
) -> str | None:
    """The extraction in the form of the reference, or None where it cannot be brought there.

    A letter becomes the text of its choice, an integer `int(float(x))`, a float `round(float(x),
    precision)`; any other text stays as it is.

    Source: lupantech/MathVista, evaluation/calculate_score.py (normalize_extracted_answer).
    Departs: a text that is no choice stays unread. The program takes the choice with the smallest
    edit distance, so that an empty text gets the shortest choice.

    >>> mathvista_normal("(b)", "multi_choice", "text", ("3/11", "8/11"), None)
    '8/11'
    """
    if question_type == "multi_choice":
        text = extraction.strip()
        if bracketed := _BRACKETED_LETTER.search(text):
            text = bracketed[1].upper()
        by_letter = dict(zip(letters_of(choices), choices, strict=True))
        return by_letter.get(text, text if text in choices else None)
    try:
        if answer_type == "integer":
            return str(int(float(extraction)))
        if answer_type == "float":
            digits = None if precision is None else int(precision)
            return str(round(float(extraction), digits))
    except (ValueError, OverflowError):
        return None
    return extraction
