"""`plumbline plan`, on every page that ships."""

import re
import sys
from pathlib import Path

import pytest

from recipes.cli import main as cli
from recipes.cli.groups.recipe import plan
from recipes.schema.recipe import load_recipe
from rl.runtime import cluster

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "recipes" / "configs"
# The pages for GPUs, and the model that each is for: a config.json without weights.
ON_GPUS = {
    path.name: ROOT / "tests" / load_recipe(path).model.path
    for path in sorted(CONFIGS.glob("*gpu.yaml"))
}
PAGES = sorted({path.name for path in CONFIGS.glob("*.yaml")} - ON_GPUS.keys())


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
    plan(CONFIGS / page, [f"model.path={place}"])
    shown = capsys.readouterr().out
    for stage in load_recipe(CONFIGS / page, []).stages:
        assert stage.name in shown


@pytest.mark.parametrize("page", [*PAGES, *ON_GPUS])
def test_a_page_begins_with_its_command(page: str) -> None:
    first = (CONFIGS / page).read_text().splitlines()[0]
    assert first.startswith("#")
    assert page in first or "make quickstart" in first


def test_a_plans_arithmetic(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(CONFIGS / "grpo.yaml", [f"model.path={place}", "stages.grpo.steps=7"])
    shown = capsys.readouterr().out
    assert "48 prompts x 8 = 384 answers" in shown
    assert " 7 " in shown


def test_a_plans_large_numbers_have_commas(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    plan(CONFIGS / "grpo.yaml", [f"model.path={place}", "stages.grpo.prompts_per_step=1200"])
    shown = capsys.readouterr().out
    assert "1,200 prompts x 8 = 9,600 answers" in shown
    assert not re.search(r"\b\d{4,}\b", shown.replace(str(place), "")), shown


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["plumbline", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("page", ON_GPUS)
def test_a_page_for_gpus_plans_from_a_config_alone(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert command(monkeypatch, "plan", str(CONFIGS / page), f"model.path={ON_GPUS[page]}") == 0
    shown = capsys.readouterr().out
    first = (CONFIGS / page).read_text()
    size = "6.99 GiB" if "3b" in page else "8.27 GiB"
    assert f"one publish: {size}" in shown
    assert size in first
    assert "unverified" in first.splitlines()[0]
    # What the page's head says a GPU needs is what the plan says.
    needs = [line.split("│")[4].strip() for line in shown.splitlines() if "learner-" in line]
    needs += [line.split("│")[4].strip() for line in shown.splitlines() if "rollout-" in line]
    assert f"{max(map(float, needs))} of 80 GiB a GPU" in first
    together = "learner-7, rollout-7"
    assert (together in shown) == ("2x8" not in page)
    assert "64 prompts x 8 = 512 answers" in shown


@pytest.mark.parametrize("page", ON_GPUS)
def test_a_page_for_gpus_ends_in_one_line_here(
    page: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a whole model and data beside it: hardware is what is missing. No engine starts."""
    monkeypatch.setattr("recipes.planning.actors.count_gpus", lambda: 0)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(cluster.ray, "init", never)
    words = ["run", str(CONFIGS / page), f"model.path={place}", "model.max_pixels=16384"]
    if "2x8" in page:
        words += ["runtime.address=null", "hardware.nodes=1"]
    assert command(monkeypatch, *words) == 2
    found = capsys.readouterr()
    [line] = found.err.strip().splitlines()
    asked = 16 if "2x8" in page else 8
    assert f"the recipe asks for {asked} GPUs, this machine has none" in line
    assert not (Path("runs")).exists()


def test_a_page_for_a_cluster_ends_in_one_line_without_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(cluster.ray, "init", nobody)
    page = CONFIGS / "qwen3-vl-4b-2x8gpu.yaml"
    words = [f"model.path={place}", "model.max_pixels=16384", "evals.benchmarks=[]"]
    words.append("stages.grpo.from=sft")
    assert command(monkeypatch, "run", str(page), *words) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "runtime.address: auto: Ray did not start: Could not find any" in line


def test_a_config_alone_does_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = "qwen3-vl-4b-2x8gpu.yaml"
    assert command(monkeypatch, "run", str(CONFIGS / page), f"model.path={ON_GPUS[page]}") == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "lacks its weights" in line


def test_a_gpu_too_small_ends_the_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "qwen2.5-vl-3b-8gpu.yaml"
    words = ["plan", str(CONFIGS / page), f"model.path={ON_GPUS[page]}"]
    one = ["learner.ranks=1", "rollout.workers=1", "hardware.gpus=1"]
    assert command(monkeypatch, *words, *one, "learner.zero=0", "hardware.gpu_gib=24") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "machine 0 GPU 0 needs" in line
    assert "at most 24 GiB" in line
