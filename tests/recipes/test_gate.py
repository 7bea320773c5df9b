"""`plumbline gate` and `plumbline overlap` without engines, and what stands for a rolled-back
stage."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.cli import main as cli
from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import recipe_of
from rl.runs.store import RunStore
from tests.evals.report.conftest import make_run  # noqa: F401


def plumbline(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["plumbline", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_exit_codes(
    make_run: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    assert plumbline(monkeypatch, "gate", str(run)) == 0
    assert "Gate of quickstart: pass" in capsys.readouterr().out
    file = run / "evals/sft/mme/result.json"
    value = json.loads(file.read_text())
    value["gate"]["verdict"] = "fail"
    file.write_text(json.dumps(value))
    assert plumbline(monkeypatch, "gate", str(run), "--markdown") == 3
    assert capsys.readouterr().out.startswith("## Gate of quickstart: fail\n")
    assert plumbline(monkeypatch, "gate", str(run / "nowhere")) == 2
    assert "no run to report on" in capsys.readouterr().err


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A pipeline whose run folder has facts of stages, and no engine."""
    rows = [{"path": "rows.jsonl"}]
    page = recipe_of(
        {
            "run": {"name": "r", "root": str(tmp_path)},
            "model": {"path": "m"},
            "evals": {"gate": {"on_fail": "rollback"}},
            "stages": [
                {"name": "sft", "algorithm": "sft", "data": rows},
                {"name": "dpo", "from": "sft", "algorithm": "sft", "data": rows},
                {"name": "kto", "from": "dpo", "algorithm": "sft", "data": rows},
                {"name": "last", "from": "best(dpo, kto)", "algorithm": "sft", "data": rows},
            ],
        }
    )
    made = Pipeline(page, Console(quiet=True))
    made.store = RunStore.create(made.root, config_yaml="", facts={})
    return made


def test_a_rolled_back_stage_is_stood_for(pipeline: Pipeline) -> None:
    stages = pipeline.recipe.stages
    pipeline._failed(stages[1], "sft", "mme: lost")
    assert pipeline._parent(stages[2]) == "sft"
    # kto started from sft then, and fails as well: both candidates are sft, nothing to choose.
    pipeline._failed(stages[2], "sft", "mme: lost")
    assert pipeline._parent(stages[3]) == "sft"
    events = [json.loads(line) for line in (pipeline.root / "events.jsonl").open()]
    assert [(e["event"], e["stage"], e["to"]) for e in events] == [
        ("rolled_back", "dpo", "sft"),
        ("rolled_back", "kto", "sft"),
    ]
    pipeline._failed(stages[0], "base", "mme: lost")
    assert pipeline._parent(stages[3]) == "base"


def test_overlap(
    tiny_qwen3vl: Path,
    scene_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A recipe that trains on the benchmark's own rows is told so; one that does not, is not."""
    page = tmp_path / "page.yaml"
    stage = {"name": "sft", "algorithm": "sft", "data": [{"path": str(scene_data / "sft.jsonl")}]}
    recipe = {
        "run": {"root": str(tmp_path / "runs")},
        "model": {"path": str(tiny_qwen3vl)},
        "evals": {"benchmarks": [{"name": "mme", "path": str(scene_data / "mme")}]},
        "stages": [stage],
    }
    page.write_text(json.dumps(recipe))
    assert plumbline(monkeypatch, "overlap", str(page), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"mme": {"images": 0, "flagged": {}}}
    assert (tmp_path / "runs" / ".cache" / "images.sqlite").is_file()
    from evals.registry import get_benchmark

    items = get_benchmark("mme").load(scene_data / "mme")[:4]
    rows = []
    for number, item in enumerate(items):
        (tmp_path / f"{number}.png").write_bytes(item.sample.images[0].read())
        turns = [
            {"role": "user", "content": f"<image>{item.question}"},
            {"role": "assistant", "content": item.sample.references[0]},
        ]
        rows.append({"id": f"leak-{number}", "messages": turns, "images": [f"{number}.png"]})
    (tmp_path / "leak.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage["data"].append({"path": str(tmp_path / "leak.jsonl")})  # type: ignore[attr-defined]
    page.write_text(json.dumps(recipe))
    assert plumbline(monkeypatch, "overlap", str(page), "--json") == 0
    found = json.loads(capsys.readouterr().out)["mme"]
    assert found["images"] == 2
    assert set(found["flagged"]) == {item.sample.uid for item in items}
    assert found["flagged"][items[0].sample.uid]["kinds"] == ["image", "question"]
    assert found["flagged"][items[0].sample.uid]["train"] == "sft:leak-0"
    assert plumbline(monkeypatch, "overlap", str(page)) == 0
    assert "training row sft:leak-0" in capsys.readouterr().out
