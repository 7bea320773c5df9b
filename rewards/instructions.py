"""IFEval's verifiable instructions ("use no commas", "at least 300 words"): one check for each.

`CHECKS` lists them by IFEval's names. A check sees the answer and the instruction's arguments, and
needs no model.

Source: arXiv 2311.07911; EleutherAI/lm-evaluation-harness@4e7e0d47f33b, lm_eval/tasks/ifeval
(instructions.py). Departs in four places, to need no downloads and no random numbers: sentences are
split by the rule below and not by nltk's trained punkt; words in capitals are split by a short form
of its Treebank rules; languages are recognised by `rewards.languages` and not by langdetect; where
an argument is missing the program draws a random one, and here it is an error (a letter that is no
letter, such as "!", is counted as any character).
"""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.base import reward
from rewards.languages import language_of

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]


def follows(text: str, instruction: str, arguments: Arguments, *, is_loose: bool = False) -> bool:
    """Whether `text` follows the instruction; an empty text follows none.

    By the loose rule it is enough that one of the eight `loose_versions` of the text does. Raises:
    ValueError for an unknown instruction, a missing argument or one of a wrong type.

    >>> follows("no commas here", "punctuation:no_comma", {})
    True
    >>> text = "Sure, here it is:\\nno commas here"
    >>> [follows(text, "punctuation:no_comma", {}, is_loose=is_loose) for is_loose in (False, True)]
    [False, True]
    """
    if not isinstance(instruction, str) or instruction not in CHECKS:
        raise ValueError(f"unknown instruction {instruction!r}"[:200])
    check = CHECKS[instruction]
    # Kept on purpose: an argument that is empty or 0 counts as missing, as in the official script.
    given = {key: value for key, value in arguments.items() if value}
    for key, value in given.items():
        if key in _TYPES and not _HAS_TYPE[_TYPES[key]](value):
            found = f"instruction {instruction}: {key} is {value!r}"[:200]
            raise ValueError(f"{found}, not {_TYPES[key]}")
    versions = loose_versions(text) if is_loose else [text]
    try:
        return any(check(version, given) for version in versions if version.strip())
    except KeyError as error:
        raise ValueError(f"instruction {instruction} lacks {error}") from error
    except (re.error, OverflowError) as error:  # "a{9999999999}" overflows
        raise ValueError(f"instruction {instruction}: {error}") from error


_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("keywords", "forbidden_words"), "a list of texts"),
    **dict.fromkeys(("keyword", "letter", "language", "first_word", "end_phrase"), "a text"),
    **dict.fromkeys(("postscript_marker", "section_spliter", "prompt_to_repeat"), "a text"),
    **dict.fromkeys(("relation", "let_relation", "capital_relation"), "a text"),
    **dict.fromkeys(("frequency", "let_frequency", "capital_frequency"), "a number"),
    **dict.fromkeys(("num_sentences", "num_paragraphs", "nth_paragraph", "num_words"), "a number"),
    **dict.fromkeys(("num_placeholders", "num_bullets", "num_highlights"), "a number"),
    "num_sections": "a number",
}
_HAS_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "a text": lambda value: isinstance(value, str),
    "a number": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    "a list of texts": lambda value: (
        isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    ),
}


def loose_versions(text: str) -> list[str]:
    """The eight texts of the loose rule: without the first line, without the last, without both and
    as it is; each with and without asterisks.

    >>> loose_versions("Sure:\\n*yes*")
    ['Sure:\\n*yes*', '*yes*', 'Sure:', '', 'Sure:\\nyes', 'yes', 'Sure:', '']
    """
    lines = text.split("\n")
    cuts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cuts, *(cut.replace("*", "") for cut in cuts)]


def count_sentences(text: str) -> int:
    """The number of sentences of an English text.

    A sentence ends at . ! or ? (and closing quotes) before white space. A period does not end one
    after an abbreviation or an initial, nor before a lower-case letter.

    >>> count_sentences("Dr. Lee met J. Doe at 3.5 km. Did he? Yes!")
    3
    """
    ends = sum(_ends_sentence(match, text) for match in _SENTENCE_END.finditer(text))
    return ends + bool(text.strip())


def count_capital_words(text: str) -> int:
    """The number of words in capital letters; "DON'T" is two ("DO", "N'T") by the Treebank rules.

    >>> count_capital_words("NASA said: DON'T go, ok U.S. team")
    4
    """
    words = _WORD_MARKS.sub(" ", _CONTRACTIONS.sub(r" \g<0>", text)).split()
    return sum(word.isupper() for word in words)


_CLOSING = "\"')]”’"
_SENTENCE_END = re.compile(rf"(?<![.!?])[.!?]++[{re.escape(_CLOSING)}]*+(?=\s+(\S))")
_WORD_BEFORE = re.compile(r"[\w.]*\Z")
_ABBREVIATION_LIST = """
    mr mrs ms dr prof st sr jr vs etc e.g i.e inc ltd co corp no vol fig al dept est approx u.s u.k
    p.s ph.d a.m p.m jan feb mar apr jun jul aug sep sept oct nov dec gen col lt sgt capt rev hon
    rep sen gov mt ft
    """
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())
_CONTRACTIONS = re.compile(
    r"(?<=\w)(?:N'T|n't|'(?:S|M|D|LL|RE|VE|s|m|d|ll|re|ve))(?=\W|\Z)|(?<=\bCAN)NOT\b"
    r"|(?<=\b(?:GON|WAN))NA\b|(?<=\bGOT)TA\b|(?<=\b(?:GIM|LEM))ME\b"
)
_WORD_MARKS = re.compile(r"[,:;@#$%&?!()\[\]{}<>\"“”`]|--|\.\.\.")


def _ends_sentence(match: re.Match[str], text: str) -> bool:
    """Whether the marks found really end a sentence."""
    if match[0].strip(_CLOSING) != ".":
        return match[0][0] != "." or not match[1].islower()
    if match[1].islower():
        return False
    word = _WORD_BEFORE.search(text, max(0, match.start() - 20), match.start())
    before = word[0].lower() if word else ""
    return before not in _ABBREVIATIONS and not (len(before) == 1 and before.isalpha())


def _compare(count: int, relation: str, wanted: float) -> bool:
    if relation not in ("less than", "at least"):
        raise ValueError(f"unknown relation {relation!r}")
    return count < wanted if relation == "less than" else count >= wanted


def _keywords(text: str, given: Arguments) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in given["keywords"])


def _keyword_frequency(text: str, given: Arguments) -> bool:
    count = len(re.findall(given["keyword"].strip(), text, re.IGNORECASE))
    return _compare(count, given["relation"], given["frequency"])


def _forbidden(text: str, given: Arguments) -> bool:
    words = given["forbidden_words"]
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in words)


def _letter_frequency(text: str, given: Arguments) -> bool:
    count = text.lower().count(given["letter"].strip().lower())
    return _compare(count, given["let_relation"], given["let_frequency"])


def _language(text: str, given: Arguments) -> bool:
    found = language_of(text)
    return found is None or found == given["language"].partition("-")[0]


def _sentences(text: str, given: Arguments) -> bool:
    return _compare(count_sentences(text), given["relation"], given["num_sentences"])


def _paragraphs(text: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    ends = [parts[0]] if len(parts) == 1 else [parts[0], parts[-1]]
    return bool(len(parts) - sum(not end.strip() for end in ends) == given["num_paragraphs"])


def _words(text: str, given: Arguments) -> bool:
    return _compare(len(re.findall(r"\w+", text)), given["relation"], given["num_words"])


def _first_word(text: str, given: Arguments) -> bool:
    number, nth = given["num_paragraphs"], given["nth_paragraph"]
    if not 0 < nth <= number:
        raise ValueError(f"paragraph {nth} of {number}")
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    words = paragraphs[int(nth) - 1].split() if nth <= count else []
    if not words:
        return False
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    lowered = "".join(sign.lower() for sign in first)
    return bool(count == number and lowered == given["first_word"].lower())


def _placeholders(text: str, given: Arguments) -> bool:
    return bool(sum(map(_brackets, text.split("\n"))) >= given["num_placeholders"])


def _brackets(line: str) -> int:
    """The number of [..] in a line that do not overlap."""
    count = end = 0
    while (start := line.find("[", end)) >= 0 and (closing := line.find("]", start)) >= 0:
        count, end = count + 1, closing + 1
    return count


def _postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    rule = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, marker.lower())
    return re.search(rule, text.lower()) is not None


def _bullets(text: str, given: Arguments) -> bool:
    # The official expressions begin with \s*, which also spans blank lines before the bullet; that
    # finds the same bullets and takes quadratic time.
    stars = re.findall(r"^[^\S\n]*\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-.*$", text, re.MULTILINE)
    return bool(len(stars) + len(dashes) == given["num_bullets"])


def _constrained(text: str, given: Arguments) -> bool:
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


def _highlights(text: str, given: Arguments) -> bool:
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    filled = [part for part in (*single, *double) if part.strip("*").strip()]
    return bool(len(filled) >= given["num_highlights"])


def _sections(text: str, given: Arguments) -> bool:
    mark = rf"\s?{given['section_spliter'].strip()}\s?\d+\s?"
    return bool(len(re.split(mark, text)) - 1 >= given["num_sections"])


def _json(text: str, given: Arguments) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, given: Arguments) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        title = line[start : end + 2].lstrip("<").rstrip(">") if 0 <= start <= end - 3 else ""
        if title.strip():
            return True
    return False


def _two_responses(text: str, given: Arguments) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    filled = [part.strip() for part in parts if part.strip()]
    return len(filled) == 2 and filled[0] != filled[1]


def _repeat_prompt(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _capital_words(text: str, given: Arguments) -> bool:
    return _compare(
        count_capital_words(text), given["capital_relation"], given["capital_frequency"]
    )


def _english(text: str) -> bool:
    return language_of(text) in ("en", None)


def _quoted(text: str, given: Arguments) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: Mapping[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, given: text.isupper() and _english(text.lower()),
    "change_case:english_lowercase": lambda text, given: text.islower() and _english(text),
    "punctuation:no_comma": lambda text, given: "," not in text,
}


def follow_all(
    text: str,
    instructions: Sequence[str],
    arguments: Sequence[Arguments],
    *,
    is_loose: bool = False,
) -> list[bool]:
    """Whether `text` follows each instruction. Raises: ValueError as `follows` does."""
    pairs = zip(instructions, arguments, strict=True)
    return [follows(text, name, given, is_loose=is_loose) for name, given in pairs]


@reward(name="instructions")
def instructions(
    text: str,
    instruction_id_list: Sequence[str] = (),
    kwargs: Sequence[Mapping[str, Any]] = (),
    is_loose: bool = False,
) -> float | None:
    """The share of the sample's instructions that the answer follows; None where it has none. The
    columns `instruction_id_list` and `kwargs` are those of IFEval's data.

    >>> instructions("no commas", ["punctuation:no_comma", "detectable_format:title"], [{}, {}])
    0.5
    """
    if not instruction_id_list:
        return None
    given = list(kwargs) or [{}] * len(instruction_id_list)
    followed = follow_all(text, instruction_id_list, given, is_loose=is_loose)
    return sum(followed) / len(followed)
