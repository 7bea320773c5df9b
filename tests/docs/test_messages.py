"""troubleshooting.md quotes messages that the code has; coming-from.md uses TRL's own names."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from rl import errors
from rl.errors import EvalError, ModelError, RewardError, RolloutError, RunError
from tests.docs.fences import ROOT

PACKAGES = ("rl", "rewards", "rollouts", "evals", "recipes")
ROW = re.compile(r"^\| (?:`` (?P<double>.+?) ``|`(?P<message>.+?)`) \| ", re.MULTILINE)
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [found["double"] or found["message"] for found in ROW.finditer(PAGE)]


# Messages that need no row: what they say of themselves is all there is to do, or nobody but a
# programmer meets them.
EXEMPT = {
    "...: ...": "another library's error, carried from an actor",
    "......": "the watch's reason, whose texts have rows",
    "unknown family ...": "plumbline tiny lists the families",
    "the family makes no tiny checkpoint": "plumbline tiny",
    "its weights' names are not those of the file when taken block by block": "a new family's test",
    "... has no ...": "a new family's test (recipes/planning/sizes.py)",
    "the transformers engine has no remedy ...": "our own order of calls",
    "no way to the rollout workers is open": "our own order of calls",
    "no reference model is kept": "our own order of calls",
    "step ... is not the one that was prepared last": "our own order of calls",
    "version ... is served after the publish of ...": "our own order of calls",
    "version ... was published, ... is served already": "our own order of calls",
    "the sampler answered ... unasked": "a sampler of one's own",
    "no stages to choose from": "the function's caller",
    "no reward workers": "the class's caller",
    "... answer...": "its own line says what to do",
    "answer ... has no ...": "names file, line and key",
}
KINDS = (ModelError, RolloutError, RewardError, EvalError, RunError)
OURS = {
    name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, KINDS)
}


def raised() -> dict[str, str]:
    """Every message that is a literal of those kinds (`...`: what is filled in) -> its place."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                    continue
                if (text := message_of(node)) is not None:
                    expected = (literal(w.value) for w in node.keywords if w.arg == "expected")
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    found["; expected ".join([text, *filter(None, expected)])] = place
    return found


def message_of(call: ast.Call) -> str | None:
    """The text of `ModelError("...")` or of `errors_as(ModelError, "... {error}")`."""
    assert isinstance(call.func, ast.Name)
    arguments = call.args
    if call.func.id == "errors_as" and arguments and isinstance(arguments[0], ast.Name):
        name, arguments = arguments[0].id, arguments[1:]
    else:
        name = call.func.id
    text = literal(arguments[0]) if name in OURS and arguments else None
    return None if text is None else text.replace("{error}", "...: ...")


def literal(node: ast.expr) -> str | None:
    """A string, an f-string, or several of them added up; None for any other expression."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left)
    if isinstance(node, ast.JoinedStr):
        parts = (str(v.value) if isinstance(v, ast.Constant) else "..." for v in node.values)
        return "".join(parts)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def test_what_an_operator_meets_has_a_row() -> None:
    rows = [re.compile(".*?".join(map(re.escape, message.split("...")))) for message in MESSAGES]
    without = {
        message: place
        for message, place in raised().items()
        if message.partition("; expected ")[0] not in EXEMPT
        and not any(row.search(message) for row in rows)
    }
    assert not without, "add a row to docs/troubleshooting.md (or an exemption, with its reason)"


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
