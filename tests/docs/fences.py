"""What the pages hold: fenced blocks with their info string, and commands in indented blocks.

A fence's info string: the language, then marks. `file=NAME` writes the block under that name and
runs nothing; `slow` starts an engine; `gpu` and `unverified` are not run. `bash` and `python` are
run, `yaml` must be part of a recipe; other languages are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent != ROOT / "docs" / "adr"),
]
LANGUAGES = ("bash", "python", "yaml", "json", "text")
MARKS = ("slow", "gpu", "unverified")
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]+\n)+")
# Commands in front of which nothing but variables stands.
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:plumbline|make|python|pip) ")


@dataclass(frozen=True)
class Fence:
    """One block. `line` is that of its first line in the page."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The name that the block is written under."""
        found = (mark.removeprefix("file=") for mark in self.marks if mark.startswith("file="))
        return next(found, None)

    @property
    def where(self) -> str:
        """`docs/page.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def is_marked(self, *marks: str) -> bool:
        """Whether it bears one of these marks."""
        return any(mark in self.marks for mark in marks)


# Programs whose commands a reader would type: none may stand where nobody sees to it.
_PROGRAM = re.compile(r"(?:[A-Z_]+=\S+ )*(?:plumbline|make|python3?|pip|ray|hf|vllm|docker) ")


def fences(page: Path) -> list[Fence]:
    """The page's blocks in order."""
    text = page.read_text(encoding="utf-8")
    return sorted([*_fenced(page, text), *_indented(page, text)], key=lambda fence: fence.line)


def _fenced(page: Path, text: str) -> Iterator[Fence]:
    for found in _FENCE.finditer(text):
        language, *marks = found["info"].split() or ["text"]
        line = text.count("\n", 0, found.start()) + 2
        yield Fence(page, line, language, tuple(marks), found["text"])


def _indented(page: Path, text: str) -> Iterator[Fence]:
    """Indented blocks of commands, as the README has them: they start engines for all we know."""
    for line, lines in _blocks(text):
        if all(_COMMAND.match(f"{command} ") for command in lines):
            yield Fence(page, line, "bash", ("slow",), "\n".join(lines) + "\n")


def unseen(text: str) -> list[str]:
    """The commands in indented blocks that are neither run nor marked: some line beside them is no
    command that can be run. They want a fence.
    """
    found = []
    for _, lines in _blocks(text):
        if not all(_COMMAND.match(f"{line} ") for line in lines):
            found += [line for line in lines if _PROGRAM.match(f"{line} ")]
    return found


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Every indented block: its first line's number, and its lines."""
    prose = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    for found in _INDENTED.finditer(prose):
        lines = [line.removeprefix("    ") for line in found[0].splitlines()]
        yield prose.count("\n", 0, found.start()) + 1, lines
