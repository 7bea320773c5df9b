"""What a user can get wrong: one clear line and exit code 2, before any engine starts."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from recipes.cli import main as cli
from recipes.running import pipeline


@pytest.fixture
def place(tmp_path: Path, tiny_qwen3vl: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, two rows and a good page; starting an engine fails the test."""

    def no_engine(*_: Any, **__: Any) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr(pipeline, "ServingEngines", no_engine)
    monkeypatch.setattr(pipeline, "TrainingEngines", no_engine)
    shutil.copytree(tiny_qwen3vl, tmp_path / "model")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    rows(tmp_path, "sft", [row("red"), row("blue")])
    rows(tmp_path, "rl", [{**row(None), "solution": "red"}] * 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(
    answer: str | None, images: tuple[str, ...] = ("a.png",), text: str = "<image>What colour?"
):
    turns = [{"role": "user", "content": text}]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return {"messages": turns, "images": list(images)}


def rows(place: Path, name: str, values: list[Any]) -> None:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    (place / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))


def page(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "model": {"path": "model"},
        "stages": [
            {"name": "sft", "algorithm": {"name": "sft"}, "data": [{"path": "sft.jsonl"}]},
            {
                "name": "grpo",
                "from": "sft",
                "algorithm": {"name": "grpo", "group_size": 4},
                "data": [{"path": "rl.jsonl"}],
                "rewards": [{"name": "exact"}],
            },
        ],
    }
    return {**good, **changes}


def run(values: dict[str, Any], *overrides: str) -> int:
    """The command's exit code for a page."""
    Path("page.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return command("run", "page.yaml", *overrides)


def command(*words: str) -> int:
    sys.argv = ["plumbline", *words]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_the_good_page_reaches_the_engines(place: Path) -> None:
    with pytest.raises(AssertionError, match="an engine was started"):
        run(page())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("stages.grpo.algorithm.clip_hgih=0.3",), r"clip_hgih.*Did you mean clip_high\?"),
        (("learner.zeroo=1",), r"zeroo.*Did you mean zero\?"),
        (("learner.zero=0", "learner.offload=true"), r"offload: true needs zero: 1, 2 or 3"),
        (("learner.zero=0", "learner.dtype=float16"), r"float16 needs zero: 1, 2 or 3"),
        (("stages.sft.lr=fast",), r"stages.sft.lr.*fast"),
        (("stages.sft.steps=1.5",), "stages.sft.steps"),
        (("stages.sft.algorithm.name=sfd",), r'unknown algorithm "sfd".*sft'),
        (("stages.grpo.rewards=[exakt]",), r"exakt.*exact"),
        (("evals.benchmarks=[{name: mmee, path: x}]",), r"mmee.*mme"),
        (("stages.grpo.from=sftt",), r'unknown stage "sftt".*sft'),
        (("stages.sft.from=grpo",), r"cycle in `from:`"),
        (("learner.cpus=1e6",), r"ask for 1e\+06.*at most the cluster's"),
        (("model.path=nowhere",), r"nowhere: no such model folder"),
        (("stages.sft.data=[{path: gone.jsonl}]",), r"gone\.jsonl"),
        (("run.root=a.png",), r"a\.png.*cannot be written"),
        (("stages.nothing.lr=1",), r'no item "nothing"'),
        (("rollout.top_p=0.9",), r"top_p"),
    ],
)
def test_a_wrong_page_is_one_line_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...], said: str
) -> None:
    import re

    assert run(page(), *overrides) == 2
    assert re.search(said, line := one_line(capsys)), line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (['{"messages": ['], r"sft\.jsonl:1"),
        ([row("red"), row("red", ("b.png",))], r"sft\.jsonl:2.*b\.png"),
        ([row("red", ("bad.png",))], r"sft\.jsonl:1.*bad\.png"),
        ([row("red", ("a.png", "a.png"))], r"sft\.jsonl:1.*2 images"),
        ([row("red", (), "What?<image>")], r"sft\.jsonl:1"),
        ([], r"sft\.jsonl"),
        ([row("")], r"sft\.jsonl:1.*empty"),
    ],
)
def test_bad_rows_are_one_line_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], values: list[Any], said: str
) -> None:
    import re

    (place / "bad.png").write_bytes(b"no picture")
    rows(place, "sft", values)
    assert run(page()) == 2
    assert re.search(said, line := one_line(capsys)), line


def test_a_model_folder_without_processor(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (place / "model" / name).unlink(missing_ok=True)
    assert run(page()) == 2
    assert "processor" in one_line(capsys)


def test_a_missing_recipe_and_broken_yaml(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "none.yaml") == 2
    assert "none.yaml" in one_line(capsys)
    (place / "page.yaml").write_text("run: {name: [}\n")
    assert command("run", "page.yaml") == 2
    assert "page.yaml:1" in one_line(capsys)


def test_every_fault_of_a_page_is_told_at_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(page(), "learner.zeroo=1", "stages.sft.lr=fast", "run.sed=3") == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("zeroo", "fast", "sed"))


def test_an_existing_run_is_not_overwritten(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        run(page())
    assert run(page()) == 2
    assert "--resume" in one_line(capsys)
    with pytest.raises(AssertionError):
        run(page(), "--resume")
    assert run(page(), "stages.sft.lr=0.5", "--resume") == 2
    assert "stages.sft.lr" in one_line(capsys)


def test_a_failed_gate_is_exit_code_3(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl.errors import GateError

    def fail(*_: Any, **__: Any) -> None:
        raise GateError("a drop is shown", where="stage grpo")

    monkeypatch.setattr(pipeline, "TrainingEngines", fail)
    assert run(page()) == 3


def test_a_full_disk_is_one_line_and_exit_code_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(*_: Any, **__: Any) -> None:
        Path("/dev/full").write_text("a metric")

    monkeypatch.setattr("recipes.running.pipeline.Pipeline.run", write)
    assert run(page()) == 1
    assert "No space left on device. Free some space, then continue with --resume" in one_line(
        capsys
    )
