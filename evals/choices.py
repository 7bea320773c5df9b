"""Multiple-choice benchmarks: options by letter, a prompt, and one letter that is read and
compared.

A benchmark's file says how its rows hold options and answer, and which rule reads the letter of a
response. The rules themselves, lmms-eval's and VLMEvalKit's, are in `rewards/letters.py`.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from evals.accuracy import AccuracyBenchmark
from evals.asking.messages import cluster_of, user_message
from evals.data.items import Item, ItemScore, Row, reference_texts, response_text, verdict
from rewards.letters import DECLINED, LETTERS, letter_lmms_eval, letter_vlmevalkit, letters_of
from rl.core import ImageSource, Sample
from rl.errors import DataError

CLOSING = "Answer with the option's letter from the given choices directly."
# The letters that lmms-eval's extractor accepts where a row states no options.
DEFAULT_LETTERS = LETTERS[:8]

Options = dict[str, str]


class ChoiceBenchmark(AccuracyBenchmark):
    """A benchmark with one right letter a question.

    A subclass gives, besides the card, `options`, `answer` and `facts`. It may give `question` and
    `hint`, and overrides `read` where its letter is read by a rule of its own. By default
    `official` reads as VLMEvalKit does without a judge. An answer without a readable letter is
    wrong, and counted as unparsed.

    >>> class Shapes(ChoiceBenchmark):
    ...     id, version, source, licence = "shapes", "1", "drawings of our own", "CC BY 4.0"
    ...     columns, max_new_tokens = ("image", "question", "options", "answer"), 8
    ...     options = lambda self, row: dict(zip("ABCD", row["options"]))
    ...     answer = lambda self, row: row["answer"]
    ...     facts = lambda self, row, number: (str(number), row["question"], {})
    >>> print(Shapes().prompt({"question": "What is it?", "options": ["a cube", "a ball"]}, ""))
    What is it?
    A. a cube
    B. a ball
    Answer with the option's letter from the given choices directly.
    """

    @abstractmethod
    def options(self, row: Row) -> Options:
        """The options of a data row, by letter."""

    @abstractmethod
    def answer(self, row: Row) -> str:
        """The right letter of a data row."""

    @abstractmethod
    def facts(self, row: Row, number: int) -> tuple[str, str, dict[str, Any]]:
        """(the end of its uid, its category, the columns that its response row keeps)."""

    def question(self, row: Row) -> str:
        """The question without its options."""
        return str(row["question"])

    def hint(self, row: Row) -> str:
        """The text before the question; "" for none."""
        return ""

    def read(self, text: str, row: Row, profile: str) -> str | None:
        """The letter that a response states, by the profile's rule; None where none can be read.
        Raises: DataError where the rule needs the row's options and there are none.
        """
        if profile == "lmms_eval":
            return letter_lmms_eval(text, row_letters(row, self.id, DEFAULT_LETTERS))
        return letter_vlmevalkit(text, row_options(row, self.id))

    def prompt(self, row: Row, profile: str) -> str:
        """Question, one line an option, and the closing line; VLMEvalKit's own form by its
        profile.
        """
        if profile == "vlmevalkit":
            return vlmevalkit_prompt(self.question(row), self.options(row), self.hint(row))
        hint = f"{self.hint(row)}\n" if self.hint(row) else ""
        return f"{hint}{self.question(row)}\n{option_lines(self.options(row))}\n{CLOSING}"

    def item(self, row: Row, number: int, images: tuple[ImageSource, ...], prompt: str) -> Item:
        """The question. Raises: DataError where the answer is none of the options."""
        options, answer = self.options(row), self.answer(row)
        if answer not in options:
            raise DataError(f"answer {answer!r}", expected=f"one of {', '.join(options)}")
        uid, category, columns = self.facts(row, number)
        sample = Sample(
            uid=f"{self.id}-{uid}",
            messages=(user_message(prompt, images),),
            images=images,
            references=(answer,),
        )
        cluster = cluster_of(images, self.question(row) + option_lines(options))
        columns = {"options": list(options.values()), **columns}
        return Item(sample, self.question(row), cluster, category, "report", columns)

    def judge(self, row: Row, profile: str) -> ItemScore:
        """1 where the letter that was read is the reference, else 0. Raises: DataError."""
        reference = row_letter(row, self.id)
        letter = self.read(response_text(row, self.id), row, profile)
        is_parsed = letter is not None and letter != DECLINED
        return verdict(row, float(letter == reference), letter, is_parsed=is_parsed)

    def is_parsed(self, score: ItemScore) -> bool:
        """Whether a letter was read."""
        return score.parsed not in (None, "", DECLINED)

    def random_baseline(self, rows: Sequence[Row]) -> float | None:
        """What guessing scores on average: the mean of 1 / number of options."""
        counts = [len(row_options(row, self.id)) for row in rows if row.get("options")]
        return sum(1 / count for count in counts) / len(counts) if counts else None


def by_letter(texts: Sequence[object]) -> Options:
    """Options by letter, in order.

    >>> by_letter(["red", 3])
    {'A': 'red', 'B': '3'}
    """
    return {letter: str(text) for letter, text in zip(letters_of(texts), texts, strict=True)}


def letter_at(options: Options, index: Any) -> str:
    """The letter of the option with this number, from 0. Raises: DataError.

    >>> letter_at({"A": "red", "B": "blue"}, 1)
    'B'
    """
    letters = list(options)
    try:
        number = int(index)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(letters):
        raise DataError(
            f"answer {index!r}", expected=f"a number from 0 to {len(letters) - 1}, an option's"
        )
    return letters[number]


def option_lines(options: Options) -> str:
    """One line an option.

    >>> print(option_lines({"A": "red", "B": "blue"}))
    A. red
    B. blue
    """
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def vlmevalkit_prompt(question: str, options: Options, hint: str = "") -> str:
    """VLMEvalKit's form: hint, question, options, "Please select ..."."""
    lines = [f"Hint: {hint}"] if hint else []
    lines.append(f"Question: {question}")
    if options:
        lines += ["Options:", option_lines(options)]
        lines.append("Please select the correct answer from the options above. ")
    return "\n".join(lines) + "\n"


def row_options(row: Row, benchmark: str) -> Options:
    """A response row's options by letter. The row holds a list of texts, a text with such a list in
    it, or a mapping from letters to texts. Raises: DataError where it holds none.

    >>> row_options({"options": "['red', 'blue']"}, "mine")
    {'A': 'red', 'B': 'blue'}
    """
    options = row.get("options")
    if isinstance(options, str):
        options = listed(options)
    if isinstance(options, Mapping):
        return {str(letter): str(text) for letter, text in options.items()}
    if not isinstance(options, Sequence) or isinstance(options, str):
        raise DataError(
            f"options are {row.get('options')!r}"[:200],
            where=f"{benchmark} {row.get('sample_id', '?')}",
            expected="a list of texts",
            do="fix the row",
        )
    return by_letter(options)


def row_letters(row: Row, benchmark: str, otherwise: Sequence[str]) -> list[str]:
    """The letters of a response row's options; `otherwise` where it has no options. Raises:
    DataError where its options cannot be read.
    """
    stated = row.get("options") is not None
    return list(row_options(row, benchmark) if stated else otherwise)


def listed(text: str) -> list[Any] | None:
    """The list that a text holds as a Python literal; None where it holds none.

    >>> listed("['a', 'b']"), listed("a")
    (['a', 'b'], None)
    """
    text = text.strip()
    # Most texts hold no list, and Python warns about some of them ("\d") when it parses them.
    if not text.lstrip("( \n\t").startswith("["):
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def row_letter(row: Row, benchmark: str) -> str:
    """A response row's reference letter; of several the first. Raises: DataError without one."""
    return reference_letters(row, benchmark)[0]


def reference_letters(row: Row, benchmark: str) -> list[str]:
    """A response row's reference letters. Raises: DataError where the first is empty.

    A letter that no option has is not refused. No answer equals it, so the question counts as
    wrong; the official programs do the same.
    """
    letters = [text.strip().upper() for text in reference_texts(row, benchmark)]
    if not letters[0]:
        raise DataError(
            f"references are {row['references']!r}"[:200],
            where=f"{benchmark} {row.get('sample_id', '?')}",
            expected="the right letter",
            do="fix the row",
        )
    return letters
