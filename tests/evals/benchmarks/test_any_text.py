"""Every benchmark's rule takes any text in every profile: it never raises, stays in range, says the
same twice and leaves the row as it is.
"""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from rl.plugins import names
from tests.evals.benchmarks.test_benchmarks import as_rows, example_rows
from tests.evals.conftest import write_parquet

ANY = st.text(st.characters(codec=None))  # surrogates too
# What rules look for, close together: letters, marks, numbers, phrases, fences, tags.
WORDS = [
    *"ABCDEab .,:;()[]{}*$%#-+=<>|`'\"\\\n\t\u3000\u00a0",
    *("yes", "No", "not", "the", "a", "two", "don't", "dont", "unanswerable"),
    *("0", "1", "1.5", "14%", "1e999", "nan", "-inf", "1,400", "١", "½"),
    *("#### ", "answer is ", "The answer is", "Answer: ", "(A)", "A.", "B)", "so ", "therefore"),
    *("\\boxed{", "$", "```python\n", "def f():\n", "<think>", "</think>", "<image 1>", "答案："),
    *("ß", "İ", "ı", "ﬁ", "１", "Ａ", "漢", "\u202e", "\u0301", "\x00", "\ud800", "\udfff"),
]
DENSE = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)
MEGABYTES = {
    "words": "no (A) the " * 100_000,
    "newlines": "\n" * 1_000_000,
    "unicode": "’ßİ１\ud800" * 200_000,
    "numbers": "#### 1,2.=" * 100_000,
}


@cache
def rows_of(name: str) -> list[dict[str, Any]]:
    """A response row for each of the benchmark's worked rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_parquet(Path(folder) / "data.parquet", example_rows(name, 1))
        return as_rows(get_benchmark(name).load(file))


def check(name: str, text: str, *, times: int = 2) -> None:
    benchmark = get_benchmark(name)
    for row in rows_of(name):
        asked = {**row, "response": text}
        before = copy.deepcopy(asked)
        for profile in benchmark.profiles:
            scores = [benchmark.score(asked, profile) for _ in range(times)]
            assert scores == scores[:1] * times
            assert scores[0].score is not None
            assert 0.0 <= scores[0].score <= 1.0
        assert asked == before


def runs_here(name: str) -> None:
    if name == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")


@pytest.mark.parametrize("name", [n for n in names("evals.benchmarks") if n != "humaneval"])
@settings(max_examples=80, deadline=None)
@given(text=ANY | DENSE)
def test_scorers_take_any_text(name, text):
    check(name, text)


@settings(max_examples=8, deadline=None)
@given(text=ANY | DENSE)
def test_code_takes_any_text(text):
    runs_here("humaneval")
    check("humaneval", text)


@pytest.mark.parametrize("kind", MEGABYTES)
@pytest.mark.parametrize("name", names("evals.benchmarks"))
def test_megabytes_are_scored(name, kind):
    runs_here(name)
    check(name, MEGABYTES[kind], times=1)
