"""The open-answer rules of MMMU and MathVista against the programs' verdicts, and on any text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks._mmmu_open import mmmu_open_answers, mmmu_open_is_right
from evals.benchmarks.mathvista import mathvista_extract, mathvista_normal
from tests.rewards.golden import rows_of


def test_mmmu_golden_open_rows():
    for row in rows_of("mmmu"):
        if row["question_type"] == "open":
            references = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            stated = mmmu_open_answers(row["prediction"])
            assert mmmu_open_is_right(stated, references) == row["correct"], row


@pytest.mark.parametrize(
    ("text", "kind", "normal"),
    [
        ("8/11", ("multi_choice", "text"), "8/11"),
        ("B", ("multi_choice", "text"), "8/11"),
        ("(b) 8/11", ("multi_choice", "text"), "8/11"),
        ('The answer is "8/11".', ("multi_choice", "text"), "8/11"),
        ("", ("multi_choice", "text"), None),  # no nearest choice
        ("(A) or (B)", ("multi_choice", "text"), None),
        (" 14 ", ("free_form", "integer"), "14"),
        ("14.6", ("free_form", "integer"), None),  # not read whole; a judge may
        ("1.456", ("free_form", "float"), "1.46"),
        ("inf", ("free_form", "float"), "inf"),
        ("[1, 2]", ("free_form", "list"), "[1, 2]"),
        ("about 14", ("free_form", "integer"), None),
    ],
)
def test_mathvista_without_a_judge(text, kind, normal):
    choices = ("3/11", "8/11") if kind[0] == "multi_choice" else ()
    extraction = mathvista_extract(text, *kind, choices)
    found = None if extraction is None else mathvista_normal(extraction, *kind, choices, 2.0)
    assert found == normal


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text(alphabet="0123.,-eE$# =isA\n"))
def test_no_text_raises(text):
    mmmu_open_is_right(mmmu_open_answers(text), [text])
    for kind in (("multi_choice", "text"), ("free_form", "float"), ("free_form", "integer")):
        mathvista_extract(text, *kind, ("x", text))
        mathvista_normal(text, *kind, ("x", "y"), 1.0)


@pytest.mark.timeout(60)  # a quadratic rule takes hours
@pytest.mark.parametrize("text", ["1" * 10**6, "1." * 500_000, "-" * 10**6, "is " * 300_000])
def test_a_megabyte_takes_no_quadratic_time(text):
    mmmu_open_answers(text)
    mathvista_extract(text, "free_form", "float", ())
