"""Letter rules against the verdicts of the programs they come from, and what no text may do to
them.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks.ai2d import letter_ai2d
from evals.benchmarks.mmbench import letter_mmbench_lmms_eval
from evals.benchmarks.scienceqa import letter_scienceqa
from evals.benchmarks.seedbench import letter_seedbench
from rewards.letters import (
    choice_letter,
    letter_lmms_eval,
    letter_mmmu,
    letter_mmmu_lmms_eval,
    letter_vlmevalkit,
    letters_of,
)
from tests.rewards.golden import rows_of

OPTIONS = {"A": "teddy bear", "B": "rabbit", "C": "cat", "D": "dog"}


def test_mcq_golden_rows():
    for row in rows_of("mcq"):
        options = dict(zip(letters_of(row["options"]), row["options"], strict=True))
        assert letter_lmms_eval(row["prediction"], list(options)) == row["letter"], row
        assert letter_vlmevalkit(row["prediction"], options) == row["letter_vlmevalkit"], row


def test_mmmu_golden_letters():
    for row in rows_of("mmmu"):
        if row["question_type"] == "multiple-choice":
            assert letter_mmmu(row["prediction"], row["options"]) == row["parsed"], row


@pytest.mark.parametrize(
    ("text", "official", "lmms_eval"),
    [
        ("the USA", None, "A"),  # "A " without a space before it
        ("D\n", None, None),  # white space is not stripped
        ("A. red or B. blue", None, "A"),  # no " X ": the order of the options
        ("(B), no, (A)", "A", "A"),
        ("I would say that it is blue and not red", "A", "A"),  # the last text contained
    ],
)
def test_mmmu_by_hand(text, official, lmms_eval):
    assert letter_mmmu(text, ["red", "blue"]) == official
    assert letter_mmmu_lmms_eval(text, ["red", "blue"]) == lmms_eval


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Sorry, I can't help with images of people yet. B", "Z"),
        ("Z", "Z"),
        ("B is on the left of the dog", "D"),  # B is not among the last four words
        ("The correct answer is **b** since it hops about all day long", "B"),
        ("A dog sits there", "A"),  # as the program without VERBOSE
        ("rabbit or cat", None),
        ("dog " * 20, None),  # longer than twice all options
        ("Failed to obtain answer via API: dog", "D"),
    ],
)
def test_vlmevalkit_by_hand(text, letter):
    assert letter_vlmevalkit(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A dog is there now", "D"),  # "A" may be an article: the text decides
        ("E", "E"),  # letters up to E count whatever the options
        ("(B) or so", "B"),
        ("it is C.", "C"),
        ("none of them", None),
        ("either B or C", "C"),  # the shared extractor: the end
    ],
)
def test_mmbench_lmms_eval_by_hand(text, letter):
    assert letter_mmbench_lmms_eval(text, OPTIONS) == letter


def test_short_rules_by_hand():
    assert [letter_ai2d(text) for text in ("(A)", " B. x", "a.", "A) cat")] == [
        "a",
        "b",
        "a",
        "a cat",
    ]
    assert [letter_scienceqa(text, 2) for text in ("b", "A. x", "A.", "(A)", "A)", "C. z")] == [
        "B",
        "A",
        "A",
        None,
        None,
        None,
    ]
    assert [letter_seedbench(text) for text in (" b", "The answer is B", "", "A.")] == [
        "B",
        "T",
        None,
        "A",
    ]


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text(alphabet="ABCDab (.):\n答案是選"))
def test_no_text_raises_or_invents_a_letter(text):
    letters = letters_of(OPTIONS)
    texts = list(OPTIONS.values())
    assert letter_lmms_eval(text, letters) in (*letters, None)
    assert letter_vlmevalkit(text, OPTIONS) in (*letters, "Z", None)
    assert letter_mmbench_lmms_eval(text, OPTIONS) in (*letters, "E", None)
    assert letter_mmmu(text, texts) in (*letters, None)
    assert letter_mmmu_lmms_eval(text, texts) in (*letters, None)
    assert letter_scienceqa(text, 4) in (*letters, None)
    assert isinstance(letter_ai2d(text), str)
    stated = choice_letter(text)
    assert stated is None or stated in text
    letter_seedbench(text)


def test_every_stated_letter_is_read():
    for letter in letters_of(OPTIONS):
        assert letter_lmms_eval(letter) == letter
        assert letter_vlmevalkit(letter, OPTIONS) == letter
        assert letter_mmmu(letter, list(OPTIONS.values())) == letter
        assert letter_scienceqa(letter, 4) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"), ("(B)", "B"), ("C.", "C"), ("D) a dog", "D"), ("The answer is (A).", "A"),
        ("Answer: B because A is wrong", "B"), ("answer A or option B", None), ("I think so", None),
        ("", None), ("A.M. is early", None), ("a", None), ("The answer is Apple", None),
    ],
)  # fmt: skip
def test_choice_letter_never_guesses(text, letter):
    assert choice_letter(text) == letter
