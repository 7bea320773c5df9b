"""The text rules that rewards and benchmarks share, each written once: normalisers, soft accuracy,
yes/no, letters, numbers.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from statistics import mean
from typing import Literal

YesNo = Literal["yes", "no", "other"]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}

# Part of the metric's definition, oddities included: entries with capitals never match after
# lower-casing, and
# somebody'd loses its apostrophe. Source: facebookresearch/mmf@b0ffc7fba39f,
# mmf/utils/m4c_evaluators.py.
_CONTRACTION_TABLE = """
    aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't couldn'tve=couldn't've
    couldnt've=couldn't've
    didnt=didn't doesnt=doesn't dont=don't hadnt=hadn't hadnt've=hadn't've hadn'tve=hadn't've
    hasnt=hasn't
    havent=haven't hed=he'd hed've=he'd've he'dve=he'd've hes=he's howd=how'd howll=how'll
    hows=how's Id've=I'd've
    I'dve=I'd've Im=I'm Ive=I've isnt=isn't itd=it'd itd've=it'd've it'dve=it'd've itll=it'll
    let's=let's maam=ma'am
    mightnt=mightn't mightnt've=mightn't've mightn'tve=mightn't've mightve=might've mustnt=mustn't
    mustve=must've
    neednt=needn't notve=not've oclock=o'clock oughtnt=oughtn't ow's'at='ow's'at 'ows'at='ow's'at
    'ow'sat='ow's'at
    shant=shan't shed've=she'd've she'dve=she'd've she's=she's shouldve=should've shouldnt=shouldn't
    shouldnt've=shouldn't've shouldn'tve=shouldn't've somebody'd=somebodyd
    somebodyd've=somebody'd've
    somebody'dve=somebody'd've somebodyll=somebody'll somebodys=somebody's someoned=someone'd
    someoned've=someone'd've
    someone'dve=someone'd've someonell=someone'll someones=someone's somethingd=something'd
    somethingd've=something'd've something'dve=something'd've somethingll=something'll thats=that's
    thered=there'd
    thered've=there'd've there'dve=there'd've therere=there're theres=there's theyd=they'd
    theyd've=they'd've
    they'dve=they'd've theyll=they'll theyre=they're theyve=they've twas='twas wasnt=wasn't
    wed've=we'd've
    we'dve=we'd've weve=we've werent=weren't whatll=what'll whatre=what're whats=what's
    whatve=what've whens=when's
    whered=where'd wheres=where's whereve=where've whod=who'd whod've=who'd've who'dve=who'd've
    wholl=who'll whos=who's
    whove=who've whyll=why'll whyre=why're whys=why's wont=won't wouldve=would've wouldnt=wouldn't
    wouldnt've=wouldn't've wouldn'tve=wouldn't've yall=y'all yall'll=y'all'll y'allll=y'all'll
    yall'd've=y'all'd've
    y'alld've=y'all'd've y'all'dve=y'all'd've youd=you'd youd've=you'd've you'dve=you'd've
    youll=you'll youre=you're
    youve=you've
    """
_CONTRACTIONS = dict(pair.split("=") for pair in _CONTRACTION_TABLE.split())

_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_DIGIT_COMMAS_DIGIT = re.compile(r"\d,+\d")
# The official look-behind is a typo and never holds, so a period goes unless a digit follows it.
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_VLMEVALKIT = re.compile(r"(?<!\d)\.(?!\d)")
# The official call passes re.UNICODE where the count stands: only the first 32 periods go.
_MOST_PERIODS = 32


def without_marks(
    text: str,
    period: re.Pattern[str] = _PERIOD,
    commas: re.Pattern[str] = _DIGIT_COMMA_DIGIT,
) -> str:
    """`text` with the 21 marks deleted (where `text` has the mark next to a space, or a
    digit,comma,digit) or made spaces.
    """
    out = text
    deletes_all = commas.search(text) is not None
    for mark in _MARKS:
        deletes = deletes_all or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if deletes else " ")
    return period.sub("", out, count=_MOST_PERIODS)


def _plain_words(text: str) -> str:
    """Number words as digits, articles dropped, missing apostrophes put back."""
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def evalai_answer(text: str) -> str:
    """The EvalAI answer processor: what TextVQA's official evaluator compares.

    Source: facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py (EvalAIAnswerProcessor).

    >>> evalai_answer("The mcdonald's, 1,000 dont")
    "mcdonald 's 1000 don't"
    """
    return _evalai_answer(text)


# References are the same for every stage, and repeat within one.
@lru_cache(maxsize=1 << 14)
def _evalai_answer(text: str) -> str:
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return _plain_words(without_marks(text))


def vlmevalkit_answer(text: str) -> str:
    """VLMEvalKit's normaliser: no "'s" split, no comma deletion, and "3." keeps its period.

    Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/vqa_eval.py
    (process_answer).
    """
    return _plain_words(without_marks(one_line(text), _PERIOD_VLMEVALKIT))


def unpunctuated(text: str) -> str:
    """`text` without ASCII punctuation.

    >>> unpunctuated("(a), it's")
    'a its'
    """
    return text.translate(_NO_PUNCTUATION)


def one_line(text: str) -> str:
    """Line ends and tabs as spaces, stripped: what the VQA tool does to every answer.

    Source: as `vqa_tool_answer`.
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def vqa_tool_answer(text: str) -> str:
    """The VQA tool's normaliser: no "'s" split, and "hello,world" becomes two words.

    Source: GT-Vision-Lab/VQA@a013f0043c1e, PythonEvaluationTools/vqaEvaluation/vqaEval.py.

    >>> vqa_tool_answer("The mcdonald's, hello,world")
    "mcdonald's helloworld"
    """
    return _plain_words(without_marks(one_line(text)))


def vqav2_answer_lmms_eval(text: str) -> str:
    """lmms-eval's normaliser of VQAv2: the VQA tool's, but "1,,000" too deletes every mark.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/vqav2/utils.py.
    """
    return _plain_words(without_marks(one_line(text), commas=_DIGIT_COMMAS_DIGIT))


def vqa_tool_answers(text: str, references: Sequence[str]) -> tuple[str, list[str]]:
    """Answer and references as the VQA tool compares them: normalised only where the references are
    not all the same.

    Source: as `vqa_tool_answer` (evaluate).

    >>> vqa_tool_answers("yes.", ["yes", "yes"]), vqa_tool_answers("yes.", ["yes", "no."])
    (('yes.', ['yes', 'yes']), ('yes', ['yes', 'no']))
    """
    answer, lines = one_line(text), [one_line(reference) for reference in references]
    if len(set(lines)) <= 1:
        return answer, lines
    return vqa_tool_answer(answer), [vqa_tool_answer(line) for line in lines]


def soft_accuracy(answer: str, references: Sequence[str]) -> list[float]:
    """VQA's soft accuracy against each leave-one-out set: min(1, matches among the others / 3).
    Both sides normalised before.

    Source: facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py
    (TextVQAAccuracyEvaluator); GT-Vision-Lab/VQA@a013f0043c1e, vqaEval.py.
    """
    matches = sum(reference == answer for reference in references)
    return [min(1.0, (matches - (reference == answer)) / 3) for reference in references]


def vqa_soft_accuracy(text: str, references: Sequence[str]) -> float:
    """Soft accuracy after the EvalAI processor, in [0, 1]: with ten references 0, .3, .6, .9, 1 for
    0, 1, 2, 3, 4 agreeing ones.

    A single reference counts as ten equal ones (equality after normalising). Raises: ValueError
    without references.
    """
    if not references:
        raise ValueError("vqa accuracy needs at least one reference")
    answer, normal = evalai_answer(text), [evalai_answer(reference) for reference in references]
    if len(normal) == 1:
        return float(answer == normal[0])
    return mean(soft_accuracy(answer, normal))


def _yes_no_in_prefix(text: str) -> YesNo:
    if text in ("yes", "no"):
        return "yes" if text == "yes" else "no"
    prefix = text[:4]
    if "yes" in prefix:
        return "yes"
    return "no" if "no" in prefix else "other"


def yes_no_official(text: str) -> YesNo:
    """MME's own reading: lower-cased and not stripped, "yes" before "no" within the first four
    characters.

    Source: BradyFU/Awesome-Multimodal-Large-Language-Models@dd2950902889, eval_tool/calculation.py.

    >>> yes_no_official("Not sure"), yes_no_official("   Yes")
    ('no', 'other')
    """
    return _yes_no_in_prefix(text.lower())


def yes_no_lmms_eval(text: str) -> YesNo:
    """lmms-eval's reading: stripped, periods deleted, a lone y or n counts.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/mme/utils.py (parse_pred_ans).
    """
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")  # type: ignore[return-value]
    return _yes_no_in_prefix(text)


def yes_no_vlmevalkit(text: str) -> YesNo:
    """VLMEvalKit's reading: exactly one of the words "yes" and "no" stands in the text.

    Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/yorn.py (YOrN_Extraction).
    """
    words = without_marks(text.lower(), _PERIOD_VLMEVALKIT).split()
    says_yes, says_no = "yes" in words, "no" in words
    if says_yes == says_no:
        return "other"
    return "yes" if says_yes else "no"


def yes_no_pope(text: str) -> YesNo:
    """POPE's reading of the text before the first period: "no" where No, no or not is a word
    between single spaces, otherwise "yes".

    Source: RUCAIBox/POPE@3df3ba1b110e, evaluate.py.

    >>> yes_no_pope("No, it is not."), yes_no_pope("No!"), yes_no_pope("")
    ('no', 'yes', 'yes')
    """
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


_LETTER_ALONE = re.compile(r"\s*[(\[]?([A-Z])[)\].:,]?\s*", re.ASCII)
_LETTER_FIRST = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[).:])(?!\S*\w\.)", re.ASCII)
_LETTER_NAMED = re.compile(
    r"\b(?i:answer|option|choice)\b(?i:\s+is|\s*:)*\s*[(\[*]*([A-Z])(?![\w'])", re.ASCII
)


def choice_letter(text: str) -> str | None:
    """The option letter that `text` states, or None. Never guesses: several different letters are
    none.

    Read are a letter alone ("A", "(A)", "A."), one in front ("(A) cat", "A. cat") and one named
    ("The answer is A").

    >>> choice_letter("(B) a dog"), choice_letter("Answer: C"), choice_letter("A cat sits")
    ('B', 'C', None)
    """
    if match := _LETTER_ALONE.fullmatch(text):
        return match[1]
    named = set(_LETTER_NAMED.findall(text))
    if named:
        return named.pop() if len(named) == 1 else None
    if match := _LETTER_FIRST.match(text):
        return match[1] or match[2]
    return None


_NUMBER = re.compile(
    r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?", re.ASCII
)


def last_number(text: str) -> float | None:
    """The last number that stands in `text`, digit-group commas allowed and "%" as hundredths, or
    None.

    >>> last_number("from 3 to 1,250.5"), last_number("12%"), last_number("none")
    (1250.5, 0.12, None)
    """
    found = _NUMBER.findall(text)
    if not found:
        return None
    token = found[-1].replace(",", "")
    value = float(token.rstrip("%"))
    return value / 100 if token.endswith("%") else value
