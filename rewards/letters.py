"""Where the option letter of a multiple-choice answer is read.

Models answer "B", "(B) blue", "The answer is B." or "A cat sits there", and every evaluation
program reads such answers by a rule of its own. Scores can only be compared with a program's
published ones if its rule is copied, oddities included. What each rule reads, for the options red,
blue and green:

    answer                 choice   lmms_eval   vlmevalkit   mmmu   first line
    "B"                    B        B           B            B      B
    "(B) blue"             B        B           B            B      -
    "The answer is B."     B        B           B            B      -
    "blue"                 -        -           B            -      -
    "A cat sits there"     -        A           A            A      -
    "A or B"               -        A           -            B      -
    "I choose the USA"     -        A           -            -      -

None of the rules here guesses: where a program draws a random letter, the answer is None (status
`unparsed`). `options` are the option texts in order; their letters are A, B, C, ... The rules of a
single benchmark (AI2D, MMBench, ScienceQA, SEED-Bench) are in its file in `evals/benchmarks/`.
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
DECLINED = "Z"  # VLMEvalKit's letter for the answer of a model that declines

_DEFAULT_LETTERS = LETTERS[:8]


@reward(name="letter")
def letter(
    text: str,
    solution: str,
    options: Sequence[str] = (),
    rule: Literal["lmms_eval", "vlmevalkit", "mmmu"] = "lmms_eval",
) -> float | Score:
    """1.0 where the program's rule reads the right letter, else 0.0.

    `options` are the sample's option texts (`vlmevalkit` and `mmmu` look for them in the answer);
    without any, the letters A to H count. An answer that cannot be read is 0.0 and `unparsed`.

    >>> letter("The answer is B.", "B"), letter("a rabbit", "B", ["cat", "rabbit"], "vlmevalkit")
    (1.0, 1.0)
    >>> letter("a rabbit", "B", ["cat", "rabbit"]).status
    'unparsed'
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
    """The letters of the options, from A on.

    >>> letters_of(["red", "green", "blue"])
    ['A', 'B', 'C']
    """
    return [chr(ord("A") + number) for number in range(len(options))]


def _strip_each(text: str, marks: str) -> str:
    """`text` with each mark removed at both ends, one mark after the other.

    Kept on purpose: lmms-eval and MMMU strip mark by mark, so the order matters. A comma that a
    period hides stays, since its turn is over when the period goes.

    >>> _strip_each("B.,", marks=",."), _strip_each("B,.", marks=",.")
    ('B', 'B,')
    """
    for mark in marks:
        text = text.strip(mark)
    return text


# --- our own rule -------------------------------------------------------------------------------

_ALONE = re.compile(r"\s*[(\[]?([A-Z])[)\].:,]?\s*", re.ASCII)
# "A.M. is early" begins with no option: what follows the letter must not be an abbreviation.
_IN_FRONT = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[).:])(?!\S*\w\.)", re.ASCII)
# "The answer is Apple" names no option: the letter must not be the start of a word.
_NAMED = re.compile(
    r"\b(?i:answer|option|choice)\b(?i:\s+is|\s*:)*\s*[(\[*]*([A-Z])(?![\w'])", re.ASCII
)


def choice_letter(text: str) -> str | None:
    """The one option letter that `text` clearly states, else None: the rule of the reward `choice`.

    It reads a letter alone ("A", "(A)", "A."), a letter that is named ("The answer is A") and a
    letter in front ("(A) cat", "A. cat"). An answer that names several letters states none.

    >>> choice_letter("(B) a dog"), choice_letter("Answer: C"), choice_letter("A cat sits")
    ('B', 'C', None)
    >>> choice_letter("answer A or option B") is None
    True
    """
    if match := _ALONE.fullmatch(text):
        return match[1]
    named = set(_NAMED.findall(text))
    if named:
        return named.pop() if len(named) == 1 else None
    if match := _IN_FRONT.match(text):
        return match[1] or match[2]
    return None


# --- lmms-eval's shared extractor ---------------------------------------------------------------

_ANSWER_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is"),
    *("the best answer is", "best answer is", "the correct option is", "correct option is"),
    *("the best option is", "best option is", "the choice is", "choice is"),
    *("the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *("my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选"),
    "答えは",
)
# How a letter may be written, with its rank: of all places found, the highest rank wins.
_TEMPLATES = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_AT_START, _AT_END, _AFTER_PHRASE, _ANYWHERE = 10, 9, 7, 0


def letter_lmms_eval(text: str, letters: Sequence[str] = _DEFAULT_LETTERS) -> str | None:
    """The letter by lmms-eval's shared extractor.

    Every place where a letter may be meant gets a rank: a letter alone at the start 10, at the end
    9, after a phrase such as "the answer is" 7, "(X)" 6, "X." 5, "X:" 4, "X)" 3, "X " 2. The
    highest rank wins; of equal ranks the last place in the text. Only where nothing has a rank, any
    occurrence of a letter counts. The rule reads the article "A" as an answer.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/_task_utils/mcq_extract.py.

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
    if not found:
        found = [(_ANYWHERE, text.rfind(letter), letter) for letter in letters if letter in text]
    # `max` keeps the first of equals, as the official stable sort does.
    return max(found, key=lambda place: place[:2])[2] if found else None


def _after_phrases(text: str, letters: Sequence[str]) -> list[tuple[int, int, str]]:
    """(rank, place, letter) of the first occurrence of each letter after each answer phrase.

    Kept on purpose: the official script finds the phrase in the lower-cased text and uses that
    place in the text itself, although lower-casing changes the length of a few characters ("İ").
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

# An answer that holds one of these is that of a model that declines.
_DECLINES = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
FAILED_CALL = "Failed to obtain answer via API"
_NAMED_VLMEVALKIT = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
_TO_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_TOKENS = 4


def letter_vlmevalkit(text: str, options: dict[str, str]) -> str | None:
    """The letter by VLMEvalKit's exact matching, the part of its rule that needs no judge.

    In this order: the only letter that is a word of the answer, if it is among the last words; the
    letter in "answer is X"; the only option whose text is part of the answer, if the answer is at
    most twice as long as all options together. "Z" (`DECLINED`) where the model declines. `options`
    are the texts by letter.

    Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/utils/matching_util.py (can_infer, with
    VERBOSE unset).

    >>> options = {"A": "teddy bear", "B": "rabbit"}
    >>> letter_vlmevalkit("It is B", options), letter_vlmevalkit("a rabbit", options)
    ('B', 'B')
    >>> letter_vlmevalkit("B is on the left of the dog", options) is None  # not among the last
    True
    """
    return _option_vlmevalkit(text, options) or _text_vlmevalkit(text, options)


def _option_vlmevalkit(text: str, options: dict[str, str]) -> str | None:
    """The letter that the answer states (can_infer_option)."""
    if FAILED_CALL in text:
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
    """The letter of the only option whose text the answer holds (can_infer_text)."""
    text = text.lower()
    if len(text) > 2 * sum(len(option) for option in options.values()):
        return None
    contained = [letter for letter, option in options.items() if option.lower() in text]
    return contained[0] if len(contained) == 1 else None


# --- MMMU ---------------------------------------------------------------------------------------

_MARKS_MMMU = ",.!?;:'"
_CONTENT_WORDS = 5  # an answer of more words is searched for option texts


def letter_mmmu(text: str, options: Sequence[str]) -> str | None:
    """The letter by MMMU's own rule: the last "(X)", else the last " X ", else the last option
    text.

    Option texts are looked for in answers of more than five words. Where the program draws a random
    letter, the answer is None. White space at the ends is not stripped, so "A.\\n" keeps its
    period.

    Source: MMMU-Benchmark/MMMU@bb0b95a94599, mmmu/utils/eval_utils.py
    (parse_multi_choice_response).

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
    """The letter by lmms-eval's variant of MMMU's rule: "X " needs no space before it, and "X." is
    read too.

    Of several letters found so, the one with the last " X " wins, or the first option where no
    letter has spaces on both sides.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py.

    >>> letter_mmmu_lmms_eval("the USA", ["red", "blue"]), letter_mmmu("the USA", ["red", "blue"])
    ('A', None)
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
    """The text without marks at its ends, between spaces: a letter at an end is then " X " too."""
    return f" {_strip_each(text, _MARKS_MMMU)} "


def _content_mmmu(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option text that comes last in a long answer."""
    if len(text.split()) <= _CONTENT_WORDS:
        return None
    lowered = text.lower()
    found = zip(letters_of(options), options, strict=True)
    return _last_of({letter: lowered.rfind(option.lower()) for letter, option in found})


def _last_of(places: dict[str, int]) -> str | None:
    """The letter whose place is last (the first of equals); None where none is found."""
    found = {letter: place for letter, place in places.items() if place >= 0}
    return max(found, key=lambda letter: found[letter]) if found else None


# --- the first line: MMLU and C-Eval -------------------------------------------------------------


def letter_first_line(text: str, letters: Sequence[str], more_marks: str = "") -> str | None:
    """The letter that the whole first line is, apart from case and punctuation: the rule of
    lm-evaluation-harness for generative MMLU.

    `more_marks` are deleted beside ASCII punctuation (C-Eval adds the Chinese marks).

    Source: EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/mmlu/generative.

    >>> letter_first_line(" (b).\\nno", "AB"), letter_first_line("B. cat", "AB")
    ('B', None)
    """
    line = unpunctuated(text.partition("\n")[0].strip().lower())
    line = line.translate(dict.fromkeys(map(ord, more_marks)))
    return next((letter for letter in letters if letter.lower() == line), None)
