"""Errors of the evaluation's front doors say what, where, what was expected, and what to do."""

import ast
from pathlib import Path

import pytest

EVALS = Path(__file__).parents[2] / "evals"
FILES = (
    *(
        "data/layout.py",
        "data/parts.py",
        "data/sources.py",
        "decisions/best.py",
        "decisions/gate.py",
    ),
    *("scoring/compare.py", "scoring/paired.py", "report/formats/__init__.py"),
)
KINDS = {"ConfigError", "DataError", "EvalError", "GateError", "MissingImage"}


def made(tree: ast.AST) -> list[ast.Call]:
    """Every place that makes one of these errors: `EvalError("...")`, or
    `errors_as(EvalError, "... {error}")`.
    """
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in KINDS
        or (node.func.id == "errors_as" and getattr(node.args[0], "id", None) in KINDS)
    ]


@pytest.mark.parametrize("name", FILES)
def test_each_message_has_its_four_parts(name):
    calls = made(ast.parse((EVALS / name).read_text()))
    assert calls
    for call in calls:
        told = {keyword.arg for keyword in call.keywords}
        assert {"where", "expected", "do"} <= told, f"{name}:{call.lineno} has only {told}"
