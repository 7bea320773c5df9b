"""Option letters out of free text: the rules of four programs, each written once.

None guesses: where the program draws a random letter, the answer is None (unparsed). `options` are
the option texts in order; their letters are A, B, C, ...
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Literal

from rewards.base import reward
from rewards.text import unpunctuated
from rl.core import Score

LETTERS = string.ascii_uppercase
_DEFAULT_LETTERS = LETTERS[:8]
# What VLMEvalKit calls the answer of a model that declines.
DECLINED = "Z"


@reward(name="letter")
def letter(
    text: str,
    solution: str,
    options: Sequence[str] = (),
    rule: Literal["lmms_eval", "vlmevalkit", "mmmu"] = "lmms_eval",
) -> float | Score:
    """1.0 where a benchmark's own rule reads the right letter; what it cannot read is 0.0 and
    unparsed. `options` are the sample's option texts: without any, letters A to H count.

    >>> letter("The answer is B.", "B"), letter("a rabbit", "B", ["cat", "rabbit"], "vlmevalkit")
    (1.0, 1.0)
    """
    by_letter = dict(zip(letters_of(options), map(str, options), strict=True))
    if rule == "vlmevalkit":
        stated = letter_vlmevalkit(text, by_letter)
    elif rule == "mmmu":
        stated = letter_mmmu(text, list(by_letter.values()))
    else:
        stated = letter_lmms_eval(text, list(by_letter))
    if stated is None or stated == DECLINED:
        return Score(0.0, "unparsed", "no option letter")
    return float(stated == solution.strip().upper())


def letters_of(options: Sequence[object]) -> list[str]:
    """The letters of so many options, from A on.

    >>> letters_of(["red", "green", "blue"])
    ['A', 'B', 'C']
    """
    return [chr(ord("A") + number) for number in range(len(options))]


def _strip_each(text: str, marks: str) -> str:
    """`text` without each mark at its ends, one mark after another: later marks shield earlier
    ones.
    """
    for mark in marks:
        text = text.strip(mark)
    return text


# --- lmms-eval's shared extractor ---------------------------------------------------------------

_ANSWER_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is"),
    *("the best answer is", "best answer is", "the correct option is", "correct option is"),
    *("the best option is", "best option is", "the choice is", "choice is"),
    *("the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *("my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选"),
    "答えは",
)
_TEMPLATES = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_AT_START, _AT_END, _AFTER_PHRASE = 10, 9, 7


def letter_lmms_eval(text: str, letters: Sequence[str] = _DEFAULT_LETTERS) -> str | None:
    """lmms-eval's shared extractor: the best ranked place of a letter, and the last of equals.

    Ranks: alone at the start 10, at the end 9, anywhere after an answer phrase 7, "(X)" 6, "X." 5,
    "X:" 4, "X)" 3, "X " 2, any occurrence 0. Source:
    EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/_task_utils/mcq_extract.py.

    >>> letter_lmms_eval("A cat sits on a mat"), letter_lmms_eval("Option A is wrong, B is right")
    ('A', 'B')
    """
    if not text.strip():
        return None
    letters = list(letters) or list(_DEFAULT_LETTERS)
    text = f" {_strip_each(text.strip(), ',.!?;:' + chr(39) + chr(34))} "
    found = [
        (rank, text.rfind(template.format(letter)), letter)
        for template, rank in _TEMPLATES
        for letter in letters
        if template.format(letter) in text
    ]
    found += _after_phrases(text, letters)
    core = text.strip()
    for letter in letters:
        if core.startswith(letter) and not core[1:2].isalpha():
            found.append((_AT_START, 0, letter))
        if core.endswith(letter) and not core[-2:-1].isalpha():
            found.append((_AT_END, len(text) - 1, letter))
    found = found or [(0, text.rfind(letter), letter) for letter in letters if letter in text]
    # max keeps the first of equals, as the official stable sort does.
    return max(found, key=lambda place: place[:2])[2] if found else None


def _after_phrases(text: str, letters: Sequence[str]) -> list[tuple[int, int, str]]:
    """The first place of each letter after each phrase. Places of the lower-cased text are used in
    the text itself, as officially.
    """
    lowered = text.lower()
    places = []
    for phrase in _ANSWER_PHRASES:
        start = lowered.find(phrase)
        if start == -1:
            continue
        for letter in letters:
            place = text.find(letter, start + len(phrase))
            if place != -1:
                places.append((_AFTER_PHRASE, place, letter))
    return places


# --- VLMEvalKit ---------------------------------------------------------------------------------

_DECLINES = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_FAILED_CALL = "Failed to obtain answer via API"
_NAMED_VLMEVALKIT = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
_TO_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_TOKENS = 4


def letter_vlmevalkit(text: str, options: dict[str, str]) -> str | None:
    """VLMEvalKit's exact matching: the one letter that stands alone near the end, else "answer is
    X", else the one option whose text is contained; "Z" where the model declines.

    `options` are the texts by letter. An answer longer than twice all options is not searched for
    option texts. Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/utils/matching_util.py
    (can_infer; VERBOSE unset).

    >>> options = {"A": "teddy bear", "B": "rabbit"}
    >>> letter_vlmevalkit("It is B", options), letter_vlmevalkit("a rabbit", options)
    ('B', 'B')
    """
    return _option_vlmevalkit(text, options) or _text_vlmevalkit(text, options)


def _option_vlmevalkit(text: str, options: dict[str, str]) -> str | None:
    if _FAILED_CALL in text:
        return None
    if any(line in text for line in _DECLINES):
        return DECLINED
    words = text.translate(_TO_SPACES).split()
    stated = [letter for letter in options if letter in words]
    if len(stated) == 1 and words.index(stated[0]) > len(words) - _LAST_TOKENS - 1:
        return stated[0]
    if not stated and DECLINED in words:
        return DECLINED
    named = _NAMED_VLMEVALKIT.search(text)
    if named and named[1].upper() in options:
        return named[1].upper()
    return None


def _text_vlmevalkit(text: str, options: dict[str, str]) -> str | None:
    text = text.lower()
    if len(text) > 2 * sum(len(option) for option in options.values()):
        return None
    contained = [letter for letter, option in options.items() if option.lower() in text]
    return contained[0] if len(contained) == 1 else None


# --- MMBench in lmms-eval -----------------------------------------------------------------------

_AFFIXES = (
    *(("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ").")),
    *((":", ""), (":", ","), (":", "."), (":", ")"), (":", ").")),
)
_LETTERS_MMBENCH = LETTERS[:5]
_ARTICLE_WORDS = 3


def letter_mmbench_lmms_eval(text: str, options: dict[str, str]) -> str | None:
    """lmms-eval's static MMBench: one letter among the words ("A" in more than three words may be
    an article), one letter with a mark around it, one option text contained, else the shared
    extractor.

    Letters A to E count whatever the options. Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3,
    lmms_eval/tasks/mmbench/mmbench_evals.py (eval_method "static").
    """
    letter = _option_mmbench(text)
    if letter is None:
        lowered = text.lower()
        contained = [key for key, option in options.items() if option.lower() in lowered]
        letter = contained[0] if len(contained) == 1 else None
    return letter or letter_lmms_eval(text, sorted(options))


def _option_mmbench(text: str) -> str | None:
    if _FAILED_CALL in text:
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


# --- MMMU ---------------------------------------------------------------------------------------

_MARKS_MMMU = ",.!?;:'"
_CONTENT_WORDS = 5


def letter_mmmu(text: str, options: Sequence[str]) -> str | None:
    """MMMU's own reading: the last "(X)", else the last " X ", else (more than five words) the last
    option text contained. Where the program draws a random letter: None.

    White space at the ends is not stripped, so "A.\\n" keeps its period. Source:
    MMMU-Benchmark/MMMU@bb0b95a94599, mmmu/utils/eval_utils.py (parse_multi_choice_response).

    >>> letter_mmmu("(B) is wrong, so (A) is right", ["x", "y"]), letter_mmmu("A/B", ["x", "y"])
    ('A', None)
    """
    text = _padded_mmmu(text)
    letters = letters_of(options)
    return (
        _last_of({letter: text.rfind(f"({letter})") for letter in letters})
        or _last_of({letter: text.rfind(f" {letter} ") for letter in letters})
        or _content_mmmu(text, options)
    )


def letter_mmmu_lmms_eval(text: str, options: Sequence[str]) -> str | None:
    """lmms-eval's variant: "X " needs no space before it ("the USA" is A), and "X." is looked for.

    Several of these stand in the order of their last " X " or, without any, of the options. Source:
    EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py.
    """
    text = _padded_mmmu(text)
    letters = letters_of(options)
    bracketed = _last_of({letter: text.rfind(f"({letter})") for letter in letters})
    if bracketed:
        return bracketed
    for template in ("{} ", "{}."):
        stated = [letter for letter in letters if template.format(letter) in text]
        if stated:
            return max(stated, key=lambda letter: text.rfind(f" {letter} "))
    return _content_mmmu(text, options)


def _padded_mmmu(text: str) -> str:
    return f" {_strip_each(text, _MARKS_MMMU)} "


def _content_mmmu(text: str, options: Sequence[str]) -> str | None:
    if len(text.split()) <= _CONTENT_WORDS:
        return None
    lowered = text.lower()
    found = zip(letters_of(options), options, strict=True)
    return _last_of({letter: lowered.rfind(option.lower()) for letter, option in found})


def _last_of(places: dict[str, int]) -> str | None:
    """The letter whose place is last (the first of equals); None where none is found."""
    found = {letter: place for letter, place in places.items() if place >= 0}
    return max(found, key=lambda letter: found[letter]) if found else None


# --- lmms-eval's short rules --------------------------------------------------------------------

_LETTER_PERIOD = re.compile(r"^\s*([A-Z])\.")


def letter_ai2d(text: str) -> str:
    """lmms-eval's AI2D: a capital with a period in front, else the whole text; then lower-cased
    without punctuation: what is compared with the reference treated alike.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/ai2d/ai2d.yaml and utils.py.

    >>> letter_ai2d("(A)"), letter_ai2d("B. a cat"), letter_ai2d("A) cat")
    ('a', 'b', 'a cat')
    """
    match = _LETTER_PERIOD.match(text)
    answer = match[1] if match else text.strip()
    return unpunctuated(answer.lower())


def letter_scienceqa(text: str, num_options: int) -> str | None:
    """lmms-eval's ScienceQA: a letter alone, or an upper-case letter and a period in front.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/scienceqa/utils.py.

    >>> letter_scienceqa(" b ", 3), letter_scienceqa("A. x", 3), letter_scienceqa("(A)", 3)
    ('B', 'A', None)
    """
    text = text.strip()
    letters = letters_of(range(num_options))
    for letter in letters:
        if text.lower() == letter.lower():
            return letter
    if text[:1].isupper() and text[1:2] == ".":
        return text[0] if text[0] in letters else None
    return None


def letter_seedbench(text: str) -> str | None:
    """lmms-eval's SEED-Bench: the first character, whatever it is ("The answer is B" is T).

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/seedbench/utils.py.
    """
    return text.strip()[:1].upper().strip() or None


def letter_first_line(text: str, letters: Sequence[str], more_marks: str = "") -> str | None:
    """The letter that the first line is, without case and ASCII punctuation (and `more_marks`): the
    harness's rule for generative MMLU.

    Source: EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/mmlu/generative.

    >>> letter_first_line(" (b).\\nno", "AB"), letter_first_line("B. cat", "AB")
    ('B', None)
    """
    line = unpunctuated(text.partition("\n")[0].strip().lower())
    line = line.translate(dict.fromkeys(map(ord, more_marks)))
    return next((letter for letter in letters if letter.lower() == line), None)
