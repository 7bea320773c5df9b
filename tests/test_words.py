"""Plain words: nothing that users or readers of the code see has a word of `banned_words.txt`."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name("banned_words.txt")
ROOMS = ("rl", "rewards", "rollouts", "evals", "recipes", "requirements", "docs")
ENDINGS = {".py", ".md", ".j2", ".js", ".yaml", ".svg"}


@cache
def banned() -> tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]:
    """The patterns of the list, each with the globs of the files that it is banned in."""
    rules, globs = [], ("*",)
    for line in LIST.read_text().splitlines():
        if line.startswith("["):
            globs = tuple(line.strip("[]").split())
        elif line and not line.startswith("#"):
            word = re.split(r"\s{2,}", line)[0]
            rules.append((re.compile(rf"\b(?:{word})\b", re.IGNORECASE), globs))
    return tuple(rules)


def is_among(name: str, globs: tuple[str, ...]) -> bool:
    """Whether a glob names the file and no glob after "!" excepts it."""
    excepted = any(fnmatch(name, glob[1:]) for glob in globs if glob.startswith("!"))
    return not excepted and any(fnmatch(name, glob) for glob in globs)


def faults(name: str, text: str) -> list[str]:
    """`file:line: word` for every banned word of a file's text."""
    patterns = [word for word, globs in banned() if is_among(name, globs)]
    return [
        f"{name}:{number}: {found.group()}"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern in patterns
        for found in pattern.finditer(line)
    ]


@pytest.mark.parametrize("room", [*ROOMS, "README.md", "CHANGELOG.md"])
def test_no_banned_word(room: str) -> None:
    place = ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    wrong = [
        fault
        for file in files
        if file.suffix in ENDINGS
        for fault in faults(str(file.relative_to(ROOT)), file.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_a_word_is_banned_where_the_list_says() -> None:
    assert faults("docs/any.md", "It is fixed\nanew.") == ["docs/any.md:2: anew"]
    assert faults("rl/config.py", "the page") == ["rl/config.py:1: page"]
    assert faults("docs/recipes.md", "this page; a web page; the page") == [
        "docs/recipes.md:1: page"
    ]
    assert not faults("docs/report.md", "the page")
    assert not faults("evals/report/build.py", "the page")
