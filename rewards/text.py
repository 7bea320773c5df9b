"""How the answer to an open question about an image is normalised and compared.

TextVQA, VQAv2, VizWiz and others ask ten people, who write "2", "two" or "the 2". The evaluation
programs bring answer and references to a common form (lower case, no articles, no marks, digits for
number words) and give a *soft accuracy*: an answer counts in full when at least three of the other
people gave it. Their normalisers differ in details, and each detail moves scores, so each is
written down here once, with its source:

    answer              evalai_answer        vlmevalkit_answer
    "The Cat."          "cat"                "cat"
    "two dogs"          "2 dogs"             "2 dogs"
    "hello,world"       "helloworld"         "hello world"
    "mcdonald's"        "mcdonald 's"        "mcdonald's"
    "3."                "3"                  "3."

Readers of a yes or no are in `rewards/yes_no.py`, of a number in `rewards/numeric.py`, of an option
letter in `rewards/letters.py`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from statistics import mean

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five"),
    *("six", "seven", "eight", "nine", "ten"),
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}

# The table is part of the metric's definition, oddities included: its entries with capitals never
# match, since the text is lower-cased before, and "somebody'd" loses its apostrophe.
# Source: facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py.
_CONTRACTION_TABLE = """
    aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't couldn'tve=couldn't've
    couldnt've=couldn't've didnt=didn't doesnt=doesn't dont=don't hadnt=hadn't
    hadnt've=hadn't've hadn'tve=hadn't've hasnt=hasn't havent=haven't hed=he'd hed've=he'd've
    he'dve=he'd've hes=he's howd=how'd howll=how'll hows=how's Id've=I'd've I'dve=I'd've Im=I'm
    Ive=I've isnt=isn't itd=it'd itd've=it'd've it'dve=it'd've itll=it'll let's=let's maam=ma'am
    mightnt=mightn't mightnt've=mightn't've mightn'tve=mightn't've mightve=might've
    mustnt=mustn't mustve=must've neednt=needn't notve=not've oclock=o'clock oughtnt=oughtn't
    ow's'at='ow's'at 'ows'at='ow's'at 'ow'sat='ow's'at shant=shan't shed've=she'd've
    she'dve=she'd've she's=she's shouldve=should've shouldnt=shouldn't shouldnt've=shouldn't've
    shouldn'tve=shouldn't've somebody'd=somebodyd somebodyd've=somebody'd've
    somebody'dve=somebody'd've somebodyll=somebody'll somebodys=somebody's someoned=someone'd
    someoned've=someone'd've someone'dve=someone'd've someonell=someone'll someones=someone's
    somethingd=something'd somethingd've=something'd've something'dve=something'd've
    somethingll=something'll thats=that's thered=there'd thered've=there'd've
    there'dve=there'd've therere=there're theres=there's theyd=they'd theyd've=they'd've
    they'dve=they'd've theyll=they'll theyre=they're theyve=they've twas='twas wasnt=wasn't
    wed've=we'd've we'dve=we'd've weve=we've werent=weren't whatll=what'll whatre=what're
    whats=what's whatve=what've whens=when's whered=where'd wheres=where's whereve=where've
    whod=who'd whod've=who'd've who'dve=who'd've wholl=who'll whos=who's whove=who've
    whyll=why'll whyre=why're whys=why's wont=won't wouldve=would've wouldnt=wouldn't
    wouldnt've=wouldn't've wouldn'tve=wouldn't've yall=y'all yall'll=y'all'll y'allll=y'all'll
    yall'd've=y'all'd've y'alld've=y'all'd've y'all'dve=y'all'd've youd=you'd youd've=you'd've
    you'dve=you'd've youll=you'll youre=you're youve=you've
    """
_CONTRACTIONS = dict(pair.split("=") for pair in _CONTRACTION_TABLE.split())

DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
# Kept on purpose: the official look-behind "(?!<=\d)" is a typo that always holds, so a period is
# deleted unless a digit follows it. VLMEvalKit corrected it, and keeps the period of "3.".
_PERIOD = re.compile(r"\.(?!\d)")
PERIOD_VLMEVALKIT = re.compile(r"(?<!\d)\.(?!\d)")
# Kept on purpose: the official call passes re.UNICODE (32) as the count of `sub`, so only the first
# 32 periods are deleted.
_MOST_PERIODS = 32


def without_marks(
    text: str,
    period: re.Pattern[str] = _PERIOD,
    commas: re.Pattern[str] = DIGIT_COMMA_DIGIT,
) -> str:
    """`text` without the 21 marks of the VQA tool, and without periods that match `period`.

    A mark is deleted where it has a space beside it anywhere in the text, or where the text holds a
    number such as "1,000" (`commas`); otherwise it becomes a space.

    >>> without_marks("left-right"), without_marks("1,000 left-right")
    ('left right', '1000 leftright')
    """
    out = text
    deletes_all = commas.search(text) is not None
    for mark in _MARKS:
        deletes = deletes_all or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if deletes else " ")
    return period.sub("", out, count=_MOST_PERIODS)


def plain_words(text: str) -> str:
    """The words of the text: lower case, number words as digits, without articles, missing
    apostrophes put back.

    >>> plain_words("The two dogs dont")
    "2 dogs don't"
    """
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


# Cached: a benchmark's references are the same at every evaluation, and many repeat within one.
@lru_cache(maxsize=1 << 14)
def evalai_answer(text: str) -> str:
    """The answer as the EvalAI answer processor writes it: what TextVQA's official evaluator
    compares.

    Source: facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py (EvalAIAnswerProcessor).

    >>> evalai_answer("The mcdonald's, 1,000 dont")
    "mcdonald 's 1000 don't"
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(without_marks(one_line(text)))


def vlmevalkit_answer(text: str) -> str:
    """The answer as VLMEvalKit writes it: "'s" stays with its word, commas are marks as others are,
    and "3." keeps its period.

    Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/vqa_eval.py
    (process_answer).

    >>> vlmevalkit_answer("The mcdonald's, 3.")
    "mcdonald's 3."
    """
    return plain_words(without_marks(one_line(text), PERIOD_VLMEVALKIT))


def unpunctuated(text: str) -> str:
    """`text` without ASCII punctuation.

    >>> unpunctuated("(a), it's")
    'a its'
    """
    return text.translate(_NO_PUNCTUATION)


def one_line(text: str) -> str:
    """`text` with spaces for line ends and tabs, stripped: the first step of the VQA tool.

    Source: GT-Vision-Lab/VQA@a013f0043c1e, PythonEvaluationTools/vqaEvaluation/vqaEval.py.
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def soft_accuracy(answer: str, references: Sequence[str]) -> list[float]:
    """The soft accuracies of an answer, one for each way of leaving one person out.

    Each is min(1, people among the others who gave this answer / 3); their mean is the score.
    Answer and references must be normalised already.

    Source: facebookresearch/mmf@b0ffc7fba39f, mmf/utils/m4c_evaluators.py
    (TextVQAAccuracyEvaluator); GT-Vision-Lab/VQA@a013f0043c1e, vqaEval.py.

    >>> soft_accuracy("cat", ["cat", "cat", "dog", "cow"])
    [0.3333333333333333, 0.3333333333333333, 0.6666666666666666, 0.6666666666666666]
    """
    matches = sum(reference == answer for reference in references)
    return [min(1.0, (matches - (reference == answer)) / 3) for reference in references]


def vqa_soft_accuracy(text: str, references: Sequence[str]) -> float:
    """The mean soft accuracy of an answer after the EvalAI processor, in [0, 1].

    With ten references it is 0, 0.3, 0.6, 0.9 or 1 where 0, 1, 2, 3 or more people gave the answer.
    A single reference counts as ten equal ones. Raises: ValueError without references.

    >>> vqa_soft_accuracy("A cat.", ["cat"] * 2 + ["dog"] * 8)
    0.6
    >>> vqa_soft_accuracy("A cat.", ["cat"])
    1.0
    """
    if not references:
        raise ValueError("vqa accuracy needs at least one reference")
    answer, normal = evalai_answer(text), [evalai_answer(reference) for reference in references]
    if len(normal) == 1:
        return float(answer == normal[0])
    return mean(soft_accuracy(answer, normal))
