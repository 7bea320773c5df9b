"""Plain words: nothing that users or readers of the code see has a word of `banned_words.txt`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name("banned_words.txt")
ROOMS = ("rl", "rewards", "rollouts", "evals", "recipes", "requirements", "docs")
ENDINGS = {".py", ".md", ".j2", ".js", ".yaml", ".svg"}


@cache
def banned() -> tuple[re.Pattern[str], ...]:
    """One pattern a line of the list."""
    lines = LIST.read_text().splitlines()
    words = [re.split(r"\s{2,}", line)[0] for line in lines if line and not line.startswith("#")]
    return tuple(re.compile(rf"\b(?:{word})\b", re.IGNORECASE) for word in words)


def faults(file: Path) -> list[str]:
    """`file:line: word` for every banned word of a file."""
    return [
        f"{file.relative_to(ROOT)}:{number}: {found.group()}"
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        for pattern in banned()
        for found in pattern.finditer(line)
    ]


@pytest.mark.parametrize("room", [*ROOMS, "README.md"])
def test_no_banned_word(room: str) -> None:
    place = ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    wrong = [fault for file in files if file.suffix in ENDINGS for fault in faults(file)]
    assert not wrong, "\n".join(wrong)
