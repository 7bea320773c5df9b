"""The recipe scripts: short enough to read, and they run on real engines."""

import json
from pathlib import Path

import pytest

SCRIPTS = ("sft", "dpo", "kto", "grpo", "align")
FOLDER = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_at_most_sixty_lines(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_scripts_run_one_after_the_other(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    from recipes import align, dpo, grpo, kto, sft

    sft.main(tiny_qwen3vl, scene_data / "sft.jsonl", tmp_path / "sft", steps=3)
    model = tmp_path / "sft" / "step-000003"
    prompts = [json.loads(line) for line in (scene_data / "rl.jsonl").read_text().splitlines()]
    pairs, labelled = tmp_path / "pairs.jsonl", tmp_path / "labelled.jsonl"
    with pairs.open("w") as pair_file, labelled.open("w") as labelled_file:
        for row in prompts:
            row["images"] = [str(scene_data / path) for path in row["images"]]
            good, bad = row.pop("solution"), "no idea"
            print(json.dumps({**row, "chosen": good, "rejected": bad}), file=pair_file)
            print(json.dumps({**row, "answer": good, "label": True}), file=labelled_file)
            print(
                json.dumps({**row, "id": row["id"] + "-", "answer": bad, "label": False}),
                file=labelled_file,
            )
    dpo.main(model, pairs, pairs, tmp_path / "dpo", steps=2)
    kto.main(model, labelled, tmp_path / "kto", steps=2)
    grpo.main(model, scene_data / "rl.jsonl", tmp_path / "grpo", steps=2)
    for name in ("dpo", "kto", "grpo"):
        assert (tmp_path / name / "step-000002" / "model.safetensors").is_file()
    assert callable(align.main)  # the same Pipeline as tests/recipes/test_pipeline.py runs
