"""Every example of docs/extending.md is one file that the contract tests find by themselves."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evals.base import BenchmarkConfig
from rewards import RewardConfig, Rubric
from rl.core import Completion, Message, Sample, Text
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.errors import DataError
from tests.docs.fences import ROOT, fences
from tests.evals.conftest import open_benchmark

FOLDERS = {  # example -> the folder that is its registry
    "first_word.py": "rewards",
    "counting.py": "evals/benchmarks",
    "best_of.py": "rl/algorithms",
    "mistral.py": "rl/models/families",
    "captions.py": "rl/data/row_formats",
}
# Contract tests and how many of them each example must meet.
CONTRACTS = {
    "first_word": ("tests/rewards/test_base.py", 2),
    "counting": (
        "tests/evals/benchmarks/test_benchmarks.py tests/evals/benchmarks/test_any_text.py",
        4,
    ),
    "best_of": ("tests/rl/algorithms/test_splits.py", 1),
    "mistral": (
        "tests/rl/models tests/rl/learners/test_passes.py tests/rl/data/test_render.py "
        "tests/rollouts/test_transformers_engine.py",
        7,
    ),
    "captions": ("tests/rl/data/test_row_formats.py", 4),
}
PACKAGES = ("rl", "rewards", "evals", "rollouts", "recipes", "tests")


def examples() -> dict[str, str]:
    page = fences(ROOT / "docs" / "extending.md")
    return {fence.file: fence.text for fence in page if fence.file is not None}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with each example put into its folder, and nothing else changed."""
    place = tmp_path_factory.mktemp("extended")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", place)
    for name, folder in FOLDERS.items():
        (place / folder / name).write_text(examples()[name])
    return place


def run(place: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=place,
        env={**environment, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_example_meets_its_contract(name: str, copy: Path, environment: dict[str, str]) -> None:
    files, expected = CONTRACTS[name]
    shown = run(copy, environment, "pytest", "-q", "-m", "not engine", "-k", name, *files.split())
    passed = re.search(r"(\d+) passed", shown)
    assert passed, shown
    assert int(passed[1]) >= expected, shown


def test_each_kind_has_an_example_and_each_is_listed(
    copy: Path, environment: dict[str, str]
) -> None:
    assert {*FOLDERS, "own.yaml", "cups.yaml", "trl_style.py"} == set(examples())
    code = "from recipes.cli.main import app; app(['list'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    for name in CONTRACTS:
        assert name in done.stdout


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The examples as a user's own files, beside a page."""
    for name, text in examples().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_row_format_reads_rows(beside: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(beside / "a.png")
    row = {"file_name": "a.png", "caption": "A red square."}
    (beside / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "caption": ""}))
    source = DataSource(path="rows.jsonl#1", format="./captions.py:to_row")
    [sample] = load_records([source], "demonstration", base=beside, seed=1)
    assert sample.messages[-1].text == "A red square."
    assert sample.images[0].path == str(beside / "a.png")
    source = DataSource(path="rows.jsonl", format="./captions.py:to_row")
    with pytest.raises(DataError, match=r"rows\.jsonl:2 uid rows:2: messages\[1\] is empty"):
        load_records([source], "demonstration", base=beside)


def test_the_row_format_of_the_folder_is_found_by_its_key(
    copy: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    rows = [{"file_name": "a.png", "caption": text} for text in ("Red.", 7)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = """if True:
        import sys
        from pathlib import Path
        from rl.data.load import load
        from rl.data.sources import DataSource
        found = load([DataSource(path="rows.jsonl")], "demonstration", base=Path(sys.argv[1]),
                     on_bad_row="skip", max_bad_rows=0.5)
        print(found.records[0].messages[-1].text, found.records[0].images[0].path)
        print(found.rejects[0].reason)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = done.stdout
    assert shown.splitlines()[0] == f"Red. {tmp_path / 'a.png'}"
    assert shown.splitlines()[1].startswith("messages[1] has 7 as content")


def test_the_rewards_judge(beside: Path) -> None:
    names = ("./first_word.py:first_word", "./trl_style.py:brief")
    rubric = Rubric([RewardConfig(name=name) for name in names], beside)
    sample = Sample("a", (Message("user", (Text("?"),)),), (), ("red",), {"solution": "red"})
    said = {"red": (1.0, 1.0), "Red, I think": (1.0, 0.0), "no": (0.0, 1.0)}
    for text, wanted in said.items():
        score = rubric.score(sample, Completion((1,), (0.0,), text, "stop"))
        assert tuple(score.components.values()) == wanted


def test_the_table_of_helpers_is_the_codes() -> None:
    """Every name that the table explains is one of the example's, with these arguments."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    table = text.partition("| name | takes | gives |\n")[2].partition("\n\n")[0]
    found: dict[str, Any] = {}
    exec(compile(examples()["counting.py"], "counting.py", "exec"), found)
    rows = [line.split("|")[1:3] for line in table.splitlines()[1:]]
    assert len(rows) > 6
    for name, takes in rows:
        parameters = inspect.signature(found[name.strip(" `")]).parameters
        asked = re.findall(r"`(\w+)`", takes)
        assert asked
        assert [key for key in parameters if key in asked] == asked, name


@pytest.mark.parametrize("change", ["text: str", "last_number", "replace(tree"])
def test_a_wrong_page_fails(
    change: str, copy: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The tests above have teeth: an example with a fault in it does not pass."""
    [(name, text)] = [
        (name, text) for name, text in examples().items() if name in FOLDERS and change in text
    ][:1]
    broken = text.replace(change, f"{change[:-1]}_gone", 1)
    place = tmp_path / "broken"
    shutil.copytree(copy, place)
    (place / FOLDERS[name] / name).write_text(broken)
    with pytest.raises(AssertionError):
        test_an_example_meets_its_contract(name.removesuffix(".py"), place, environment)


def test_the_page_is_a_benchmark(beside: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(beside / "a.png")
    row = {"question_id": "1", "image": "a.png", "question": "How many?", "answer": "3"}
    (beside / "counts.jsonl").write_text(json.dumps(row))
    benchmark, [item] = open_benchmark(BenchmarkConfig(name=str(beside / "cups.yaml")))
    assert item.sample.messages[0].text == "How many?\nAnswer with a number."
    said = {"sample_id": item.sample.uid, "references": list(item.sample.references)}
    for text, wanted in {"3.1 cups": 1.0, "4": 0.0, "many": 0.0}.items():
        assert benchmark.score({**said, "response": text}).score == wanted
