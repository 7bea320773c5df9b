"""A checkout in small: what a reader has after `make quickstart` has made model and data."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.fences import ROOT

# Tells any two answers apart: an untrained model has pairs and advantages all the same.
SPREAD = """
def spread(text: str) -> float:
    return sum(map(ord, text)) % 97 / 97
"""


@pytest.fixture(scope="session")
def checkout(
    tmp_path_factory: pytest.TempPathFactory, tiny_qwen3vl: Path, scene_data: Path
) -> Path:
    """A folder with models/, data/, the pages with two steps a stage, and the environment."""
    place = tmp_path_factory.mktemp("checkout")
    (place / "models").mkdir()
    shutil.copytree(tiny_qwen3vl, place / "models" / "quickstart-base")
    shutil.copytree(scene_data, place / "data")
    (place / "recipes" / "configs").mkdir(parents=True)
    for page in (ROOT / "recipes" / "configs").glob("*.yaml"):
        (place / "recipes" / "configs" / page.name).write_text(scaled_down(page.read_text()))
    (place / "spread.py").write_text(SPREAD)
    (place / "Makefile").write_text(without_setup((ROOT / "Makefile").read_text()))
    (place / "tests").symlink_to(ROOT / "tests")
    (place / ".venv").symlink_to(sys.prefix)
    return place


def without_setup(makefile: str) -> str:
    """The environment that runs the tests is there already: `setup` does nothing."""
    changed, number = re.subn(r"^(setup:.*\n)(?:\t.*\n)+", r"\1", makefile, flags=re.MULTILINE)
    assert number == 1
    return changed


def scaled_down(page: str) -> str:
    """A page whose stages take two steps (enough supervised ones that answers end), with a reward
    under which answers differ."""
    for pattern, small in (
        (r"lr: 1\.0e-3", "lr: 3.0e-3"),
        (r"\bsteps: 1500", "steps: 60"),
        (r"\bsteps: (?!60\b)\d+", "steps: 2"),
        (r"epochs: \d+", "steps: 2"),
        (r"prompts_per_step: \d+", "prompts_per_step: 8"),
        (r"num_heldout: \d+", "num_heldout: 4"),
        (r"#\d+\"", '#24"'),
        (r"rewards: \[exact\]", 'rewards: ["./spread.py:spread"]'),
        (r"- exact\b", '- "./spread.py:spread"'),
        (r"on_fail: stop", "on_fail: warn"),
    ):
        page = re.sub(pattern, small, page)
    return page


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a child that runs our code, offline."""
    here = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "160",
    }
