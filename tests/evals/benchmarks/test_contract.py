"""`plumbline score` end to end: as few columns as the rule needs, the contract's keys."""

import json

import pytest
from typer.testing import CliRunner

from evals.registry import get_benchmark
from recipes.cli.main import app

YES_NO = {"references": ["Yes"]}
OPEN = {"references": ["Yes"] * 10}
POPE = {"accuracy", "precision", "recall", "f1", "yes_ratio"}

# benchmark -> (what a row needs besides sample_id and response, the metrics' keys)
CONTRACT: dict[str, tuple[dict, set[str]]] = {
    "mme": (
        {**YES_NO, "category": "count"},
        {"perception", "cognition", "total", "categories", "parse_rate"},
    ),
    "pope": ({**YES_NO, "category": "random"}, {*POPE, "categories", "f1_mean"}),
    "textvqa": (OPEN, {"accuracy"}),
    "vqav2": ({**OPEN, "answer_type": "other"}, {"accuracy", "answer_type", "question_type"}),
    "vizwiz": (OPEN, {"accuracy"}),
    "gqa": (
        YES_NO,
        {"accuracy", "categories", "semantic", "binary", "open", "distribution"},
    ),
    "chartqa": ({**YES_NO, "type": "human_test"}, {"accuracy", "human", "augmented", "mean"}),
    "docvqa": (YES_NO, {"anls"}),
    "infovqa": (YES_NO, {"anls"}),
    "ocrbench": (
        {**YES_NO, "dataset": "IIIT5K", "question_type": "Regular Text Recognition"},
        {"total", "categories", "text_recognition"},
    ),
    "realworldqa": ({**YES_NO, "options": ["a", "b"]}, {"accuracy", "categories"}),
}
CASES = [(name, profile) for name in CONTRACT for profile in get_benchmark(name).profiles]


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_the_command_prints_what_the_contract_says(name, profile, tmp_path):
    needs, keys = CONTRACT[name]
    answers = ["Yes", "no", "", "Yes", "\ud800\x00 \u202e", "İß１\u2028" * 9]
    rows = [{"sample_id": n, "response": a, **needs} for n, a in enumerate(answers)]
    file = tmp_path / "responses.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(app, ["score", name, str(file), "--profile", profile])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["benchmark", "profile", "version", "metrics", "items"]
    assert (found["benchmark"], found["profile"]) == (name, profile)
    assert set(found["metrics"]) == keys | {"stderr", "stderr_clustered"}
    assert [item["sample_id"] for item in found["items"]] == list(range(len(rows)))
    assert all(set(i) == {"sample_id", "score", "status", "parsed"} for i in found["items"])
    assert found["items"][0]["score"] == 1.0
    assert found["items"][1]["score"] == 0.0


@pytest.mark.parametrize("name", sorted(CONTRACT))
@pytest.mark.parametrize("column", ["response", "references", "sample_id"])
def test_a_missing_column_is_named_with_file_and_line(name, column, tmp_path):
    row = {"sample_id": 1, "response": "Yes", **CONTRACT[name][0]}
    file = tmp_path / "responses.jsonl"
    short = {key: value for key, value in row.items() if key != column}
    file.write_text(json.dumps({**row, "sample_id": 0}) + "\n" + json.dumps(short))
    result = CliRunner().invoke(app, ["score", name, str(file)])
    assert result.exit_code != 0
    message = str(result.exception)
    assert f"responses.jsonl:2: {column}" in message
    assert "\n" not in message
