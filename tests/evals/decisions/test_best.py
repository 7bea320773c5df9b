"""best(): the highest score on the select parts, and nothing else."""

import json

import pytest

from evals.decisions.best import best
from rl.errors import EvalError


def result(value: float, maximum: float, report: float = 0.0) -> dict:
    return {
        "primary": {"max": maximum},
        "parts": {"select": {"n": 10, "value": value}, "report": {"n": 10, "value": report}},
    }


def test_best_reads_select_parts_only():
    stages = {
        "sft": {"mme": result(500, 1000, report=900), "textvqa": result(0.5, 1.0)},
        "dpo": {"mme": result(600, 1000), "textvqa": result(0.45, 1.0)},
        "kto": {"mme": result(600, 1000), "textvqa": result(0.45, 1.0)},
    }
    found = best(stages)
    assert found.stage == "dpo"  # the first of equals
    assert "dpo 0.5250" in found.why


def test_best_reads_folders(tmp_path):
    for stage, value in (("a", 1.0), ("b", 2.0)):
        file = tmp_path / stage / "mme" / "result.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(result(value, 10)))
    assert best({"a": tmp_path / "a", "b": tmp_path / "b"}).stage == "b"


def test_best_needs_the_same_benchmarks():
    with pytest.raises(EvalError, match="kto was scored on nothing"):
        best({"dpo": {"mme": result(1, 2)}, "kto": {}})
