"""MathVista: mathematics in figures, by choice or by number.

Source: arXiv 2310.02255; lupantech/MathVista, evaluation (extract_answer.py, calculate_score.py).
Licence: CC BY-SA 4.0. Data: `AI4Math/MathVista`, split testmini, 1000 rows. One row:

    {"pid": "1", "question": "When a spring does work on an object, ...", "image": "images/1.jpg",
     "decoded_image": ..., "choices": null, "unit": null, "precision": 1.0, "answer": "1.2",
     "question_type": "free_form", "answer_type": "float", "metadata": {"category": "math-targeted-
     vqa", "context": "scientific figure", "grade": "college", "img_height": 720, "img_width": 1514,
     "language": "english", "skills": ["scientific reasoning"], "source": "SciBench", "split":
     "testmini", "task": "textbook question answering"}, "query": "Hint: Please answer ..."}

Profiles: `official` and `lmms_eval` the authors' direct reading and normal form, without their
choice of smallest edit distance, which guesses; `vlmevalkit` its exact matching and equality of
numbers. What cannot be read directly is unparsed; with a judge it writes the extracted answer (our
prompt, pinned by its hash), and a judge that fails makes an error. Categories are tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from evals.accuracy import AccuracyBenchmark
from evals.asking.judge import JUDGE_ERROR, JUDGEMENT, judge_text
from evals.asking.messages import cluster_of, user_message
from evals.choices import by_letter
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from evals.data.layout import HubData
from rewards.letters import DECLINED, letter_vlmevalkit
from rewards.open_answers import mathvista_extract, mathvista_normal
from rl.core import ImageSource, Sample
from rl.errors import DataError

_DECIMALS = {1: "one decimal place", 2: "two decimal places"}
_KEPT = ("question_type", "answer_type", "precision")


class MathVista(AccuracyBenchmark):
    """MathVista's testmini, accuracy."""

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
        """The data set's own query with its hint; lmms-eval's closing line instead."""
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
        """Whatever the judge wrote is taken as it is: nothing is a reading too."""
        return True

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether an answer was read."""
        return score.parsed is not None

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing a choice scores on average; a free answer counts 0."""
        chances = [1 / len(row["choices"]) if row.get("choices") else 0.0 for row in rows]
        return sum(chances) / len(chances) if chances else None


def _closing(row: Row) -> str:
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
            do="mend the row",
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
            do="mend the row",
        ) from error


def _normal(extraction: str | None, row: Row) -> str | None:
    return None if extraction is None else mathvista_normal(extraction, *_shape(row))


def _vlmevalkit(text: str, kind: str, form: str, choices: Sequence[str]) -> str | None:
    """VLMEvalKit's prefetch: the choice read, or a text that is a number."""
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
