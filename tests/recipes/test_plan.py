"""`plumbline plan`, on every page that ships."""

from pathlib import Path

import pytest

from recipes import cli
from recipes.config import load_recipe

CONFIGS = Path(__file__).resolve().parents[2] / "recipes" / "configs"
PAGES = sorted(path.name for path in CONFIGS.glob("*.yaml"))


@pytest.fixture
def place(
    tmp_path: Path, scene_data: Path, tiny_qwen3vl: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with what the pages name: `data/`, and a model given on the command line."""
    (tmp_path / "data").symlink_to(scene_data)
    monkeypatch.setenv("COLUMNS", "160")  # tables are not folded
    monkeypatch.chdir(tmp_path)
    return tiny_qwen3vl


@pytest.mark.parametrize("page", PAGES)
def test_a_page_plans(page: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.plan(CONFIGS / page, [f"model.path={place}"])
    shown = capsys.readouterr().out
    for stage in load_recipe(CONFIGS / page, []).stages:
        assert stage.name in shown


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_its_command(page: str) -> None:
    first = (CONFIGS / page).read_text().splitlines()[0]
    assert first.startswith("#")
    assert page in first or "make quickstart" in first


def test_a_plans_arithmetic(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.plan(CONFIGS / "grpo.yaml", [f"model.path={place}", "stages.grpo.steps=7"])
    shown = capsys.readouterr().out
    assert "48 prompts x 8 = 384 answers" in shown
    assert " 7 " in shown
