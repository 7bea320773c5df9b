"""`plumbline score` end to end for multiple choice, text and judged benchmarks: as few columns as
the rule needs, the contract's keys.
"""

import json

import pytest
from typer.testing import CliRunner

from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from recipes.cli.main import app

CHOICE = {"references": ["A"], "options": ["cat", "dog"]}
ACCURACY = {"accuracy", "categories"}
FIGURE = {"subcategory": "ocr", "set_id": "0", "figure_id": "1", "question_id": "0"}
LEVELS = {"prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose"}
CODE = {"prompt": "def f():\n    ", "test": "def check(f):\n    assert f() == 'A'\n"}

# benchmark -> (what a row needs besides sample_id and response, the right answer, metrics' keys)
CONTRACT: dict[str, tuple[dict, str, set[str]]] = {
    "mcq": (CHOICE, "A", ACCURACY),
    "mmmu": (
        {**CHOICE, "question_type": "multiple-choice"},
        "A",
        {"accuracy", "multiple_choice", "open", "subjects", "domains", "parse_rate"},
    ),
    "mmbench": (CHOICE, "A", {"circular", "vanilla", "categories", "l2_categories"}),
    "mmstar": ({**CHOICE, "l2_category": "l"}, "A", ACCURACY),
    "ai2d": (CHOICE, "A", ACCURACY),
    "scienceqa": (CHOICE, "A", ACCURACY),
    "seedbench": (CHOICE, "A", ACCURACY),
    "hallusionbench": (
        {**FIGURE, "references": ["1"], "category": "VD"},
        "Yes",
        {"aacc", "facc", "qacc", "categories"},
    ),
    "gsm8k": ({"references": ["so\n#### 1,000"]}, "#### 1000.", {"strict", "flexible"}),
    "mmlu": (CHOICE, "A", ACCURACY),
    "ceval": (CHOICE, "A", ACCURACY),
    "ifeval": (
        {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["cat"]}]},
        "a cat",
        {*ACCURACY, *LEVELS},
    ),
    "mathvista": (
        {"references": ["3"], "question_type": "free_form", "answer_type": "integer"},
        "3",
        ACCURACY,
    ),
    "mmvet": (
        {"references": ["x"], "judgement": "1.0", "capability": "ocr"},
        "x",
        {*ACCURACY, "capabilities"},
    ),
    "humaneval": ({**CODE, "entry_point": "f"}, "return 'A'", ACCURACY),
}
CASES = [(name, profile) for name in CONTRACT for profile in get_benchmark(name).profiles]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(("name", "profile"), CASES)
def test_the_command_prints_what_the_contract_says(name, profile, as_text, tmp_path):
    if name == "humaneval" and why_not():
        pytest.skip(why_not())
    needs, right, keys = CONTRACT[name]
    if as_text and "references" in needs:
        needs = {**needs, "references": needs["references"][0]}
    answers = [right, "no such thing", "", "\ud800\x00 \u202e", "İß１\u2028" * 9]
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
    if name != "mmvet":  # whose judge said 1.0 of all
        assert {item["score"] for item in found["items"][1:]} == {0.0}


@pytest.mark.parametrize(
    "name", sorted(set(CONTRACT) - {"humaneval"} if why_not() else set(CONTRACT))
)
def test_a_missing_column_is_named_with_file_and_line(name, tmp_path):
    needs, right, _ = CONTRACT[name]
    row = {"sample_id": 1, "response": right, **needs}
    # What mcq reads counts without a reference; the other columns only where their rule needs them.
    loose = {"mcq": {"references", "options"}, "mmvet": {"references", "capability"}}
    loose["mmstar"] = {"l2_category"}
    loose["mmmu"] = {"question_type"}
    loose |= {"mmlu": {"options"}, "ceval": {"options"}}  # always A to D
    loose["mathvista"] = {"question_type", "answer_type"}  # free text where nothing says otherwise
    loose["hallusionbench"] = {"category"}
    for column in set(row) - {"sample_id"} - loose.get(name, set()):
        short = {key: value for key, value in row.items() if key != column}
        file = tmp_path / "responses.jsonl"
        file.write_text(json.dumps({**row, "sample_id": 0}) + "\n" + json.dumps(short))
        result = CliRunner().invoke(app, ["score", name, str(file)])
        assert result.exit_code != 0, column
        message = str(result.exception)
        assert "responses.jsonl:2: " in message, message
        assert "\n" not in message
