"""troubleshooting.md quotes messages that the code has; coming-from.md uses TRL's own names."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.fences import ROOT

PACKAGES = ("rl", "rewards", "rollouts", "evals", "recipes")
ROW = re.compile(r"^\| (?:`` (?P<double>.+?) ``|`(?P<message>.+?)`) \| ", re.MULTILINE)
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [found["double"] or found["message"] for found in ROW.finditer(PAGE)]


@cache
def texts() -> list[str]:
    """Every text of the code, what f-strings fill in left out."""
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_has_the_message(message: str) -> None:
    pieces = [piece.removeprefix("expected ") for piece in message.split("...")]
    for piece in pieces:
        wanted = piece.strip(' "').replace("<image>", "\0")
        assert any(wanted in text or piece.strip(' "') in text for text in texts()), piece


def test_enough_messages_are_quoted() -> None:
    assert len(MESSAGES) > 50


def test_what_is_said_of_trl_is_trls() -> None:
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    trainer = Path(spec.origin).parent / "trainer"
    known = "".join(file.read_text() for file in trainer.glob("*_config.py"))
    known += (Path(spec.origin).parent / "scripts" / "grpo.py").read_text()
    page = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    table = page.partition("| TRL | here |")[2].partition("\n\n")[0]
    ours = ("per_device_train_batch_size", "gradient_accumulation_steps")  # transformers' own
    left = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    names = {name for cell in left for name in re.findall(r"`(\w+)", cell)} - set(ours)
    values = {"dr_grpo", "dapo"}
    missing = [n for n in names - values if not re.search(rf"^    {n}: ", known, re.MULTILINE)]
    assert not missing
    assert all(f'"{value}"' in known for value in values)
