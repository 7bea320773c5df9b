"""How a yes or a no is read out of an answer, and the reward that does so.

MME, POPE and HallusionBench ask questions whose answer is yes or no. The programs read "No, ..."
and "There is no such thing." differently:

    answer                        MME's tool   lmms-eval (MME)   VLMEvalKit
    "Yes"                         yes          yes               yes
    "y"                           other        yes               other
    "  Yes, it is."               other        yes               yes
    "Not sure"                    no           no                other
    "It is a cat, yes."           other        other             yes

"other" is neither: such an answer is wrong and counted as unparsed.
"""

from __future__ import annotations

from typing import Literal

from rewards.base import reward
from rewards.text import PERIOD_VLMEVALKIT, without_marks
from rl.core import Score

YesNo = Literal["yes", "no", "other"]


@reward(name="yes_no")
def yes_no(text: str, solution: str) -> float | Score | None:
    """1.0 for the right one of yes and no as MME's tool reads it, 0.0 for the wrong one.

    An answer that is neither is 0.0 and unparsed. None (unscored) where the solution is not yes or
    no.

    >>> yes_no("Yes, two.", "yes"), yes_no("No", "Yes"), yes_no("No", "two")
    (1.0, 0.0, None)
    """
    right = solution.strip().rstrip(".").lower()
    if right not in ("yes", "no"):
        return None
    stated = yes_no_official(text.strip())
    if stated == "other":
        return Score(0.0, "unparsed", "neither yes nor no")
    return float(stated == right)


def yes_no_official(text: str) -> YesNo:
    """MME's own reading: "yes", or else "no", within the first four characters in lower case.

    Kept on purpose: the text is not stripped, so leading white space hides the answer, and "Not"
    and "Now" are read as no.

    Source: BradyFU/Awesome-Multimodal-Large-Language-Models@dd2950902889, eval_tool/calculation.py.

    >>> yes_no_official("Not sure"), yes_no_official("   Yes")
    ('no', 'other')
    """
    return _in_first_four(text.lower())


def yes_no_lmms_eval(text: str) -> YesNo:
    """lmms-eval's reading for MME: as MME's, after white space and periods are removed; a lone y or
    n counts.

    Source: EvolvingLMMs-Lab/lmms-eval@75571cfe0fa3, lmms_eval/tasks/mme/utils.py (parse_pred_ans).

    >>> yes_no_lmms_eval("   Yes."), yes_no_lmms_eval("n"), yes_no_lmms_eval("It is not")
    ('yes', 'no', 'other')
    """
    text = text.lower().strip().replace(".", "")
    if text == "y":
        return "yes"
    if text == "n":
        return "no"
    return _in_first_four(text)


def yes_no_vlmevalkit(text: str) -> YesNo:
    """VLMEvalKit's reading: the one of the words "yes" and "no" that the text holds.

    Source: open-compass/VLMEvalKit@e8e78f05f308, vlmeval/dataset/utils/yorn.py (YOrN_Extraction).

    >>> yes_no_vlmevalkit("It is a cat, yes."), yes_no_vlmevalkit("yes and no")
    ('yes', 'other')
    """
    words = without_marks(text.lower(), PERIOD_VLMEVALKIT).split()
    says_yes, says_no = "yes" in words, "no" in words
    if says_yes == says_no:
        return "other"
    return "yes" if says_yes else "no"


def _in_first_four(text: str) -> YesNo:
    prefix = text[:4]
    if "yes" in prefix:
        return "yes"
    return "no" if "no" in prefix else "other"
