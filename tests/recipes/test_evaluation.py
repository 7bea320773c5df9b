"""`plumbline eval` on real engines: an overwritten checkpoint never gives old answers, a local
judge serves beside the workers and is asked once.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.engines.serving import ServingEngines
from recipes.running.answering import of_workers, open_judge
from recipes.running.pipeline import Pipeline
from recipes.running.prepare import prepare
from recipes.schema.recipe import Recipe, recipe_of
from recipes.synthetic.tiny import make_tiny
from rl.core import Sampling
from rl.runs.checkpoint import files_fingerprint, fingerprint

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def page(model: Path, data: Path, root: Path, **evals: Any) -> Recipe:
    benchmark = {"name": "textvqa", "path": str(data / "textvqa"), "limit": 6, "max_new_tokens": 6}
    benchmark |= {"n": 2, "temperature": 1.0}  # greedy answers of random weights are all alike
    return recipe_of(
        {
            "run": {"name": "eval", "root": str(root), "tensorboard": False},
            "model": {"path": str(model)},
            "evals": {"benchmarks": [benchmark], **evals},
            "rollout": {
                "max_new_tokens": 6,
                "max_model_len": 256,
                "engine": {"kv_cache_gib": 0.25},
            },
            "runtime": {"dashboard": False},
        }
    )


def answers(root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = root / "eval/evals/base/textvqa"
    header = json.loads((folder / "responses.header.json").read_text())
    lines = (folder / "responses.jsonl").read_text().splitlines()
    return header, [json.loads(line) for line in lines]


def starts(root: Path) -> int:
    lines = (root / "eval/events.jsonl").read_text().splitlines()
    return sum(json.loads(line)["event"] == "engines_up" for line in lines)


def test_a_checkpoint_overwritten_in_place_never_gives_old_answers(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "model", Console(quiet=True)
    shutil.copytree(tiny_qwen3vl, model)
    recipe = page(model, scene_data, tmp_path)
    Pipeline(recipe, out).run()
    old_header, old = answers(tmp_path)
    assert old_header["weights"] == fingerprint(model)
    # Nothing has changed: no engine starts, no question is asked.
    Pipeline(recipe, out, resume=True).run()
    assert (answers(tmp_path), starts(tmp_path)) == ((old_header, old), 1)

    (file,) = make_tiny("qwen3_vl", tmp_path / "other", seed=1).glob("*.safetensors")
    size, times = (model / file.name).stat().st_size, (model / file.name).stat()
    shutil.copyfile(file, model / file.name)
    assert (model / file.name).stat().st_size == size
    os.utime(model / file.name, ns=(times.st_atime_ns, times.st_mtime_ns))
    Pipeline(recipe, out, resume=True).run()
    header, new = answers(tmp_path)
    assert header["weights"] == fingerprint(model) != old_header["weights"]
    assert [row["sample_id"] for row in new] == [row["sample_id"] for row in old]
    assert not {row["key"] for row in new} & {row["key"] for row in old}
    assert [row["samples"] for row in new] != [row["samples"] for row in old]
    result = json.loads((tmp_path / "eval/evals/base/textvqa/result.json").read_text())
    assert result["weights"] == header["weights"]
    assert starts(tmp_path) == 2


def test_resume_scores_a_missing_result_again(
    tiny_qwen3vl: Path, scene_data: Path, tmp_path: Path
) -> None:
    recipe, out = page(tiny_qwen3vl, scene_data, tmp_path), Console(quiet=True)
    Pipeline(recipe, out).run()
    folder = tmp_path / "eval/evals/base/textvqa"
    result = (folder / "result.json").read_text()
    stored = (folder / "responses.jsonl").read_text()
    # All answers are stored: they are scored again without an engine.
    (folder / "result.json").unlink()
    Pipeline(recipe, out, resume=True).run()
    assert (folder / "result.json").read_text() == result
    assert (folder / "responses.jsonl").read_text() == stored
    assert starts(tmp_path) == 1
    # Answers are missing too: those are asked for again.
    (folder / "result.json").unlink()
    (folder / "responses.jsonl").write_text("".join(stored.splitlines(keepends=True)[:2]))
    Pipeline(recipe, out, resume=True).run()
    again = json.loads((folder / "result.json").read_text())
    assert again["parts"] == json.loads(result)["parts"]
    assert starts(tmp_path) == 2


def test_other_files_of_the_model_count_too(tiny_qwen3vl: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_qwen3vl, model)
    before = fingerprint(model), files_fingerprint(model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0}))
    (model / "README.md").write_text("a model")
    assert fingerprint(model) == before[0]
    assert files_fingerprint(model) != before[1]
    (model / "config.json").write_bytes((tiny_qwen3vl / "config.json").read_bytes())
    assert files_fingerprint(model) == before[1]


def test_a_local_judge_serves_beside_the_workers_and_is_asked_once(
    tiny_qwen3vl: Path, tiny_qwen3: Path, scene_data: Path, tmp_path: Path
) -> None:
    judge = {"path": str(tiny_qwen3), "max_new_tokens": 4, "max_model_len": 128}
    recipe = page(tiny_qwen3vl, scene_data, tmp_path, judge=judge)
    prepared, prompts = prepare(recipe), ["Is red a colour?", "Is blue?", "Is red a colour?"]
    with (
        ServingEngines(recipe, prepared.renderer, prepared.prompts, name="judge") as engines,
        of_workers(recipe, prepared, engines, tmp_path) as answering,
    ):
        assert answering.judge is not None
        assert answering.judge.identity.model == tiny_qwen3.name
        assert answering.judge.identity.revision.startswith(fingerprint(tiny_qwen3))
        said = answering.judge.ask(prompts, 1)
        assert all(judgement.text is not None for judgement in said)
        assert said[0] == said[2]
        # A prompt too long for the judge is an error of ours, for that answer alone.
        long = answering.judge.ask(["word " * 2000, "Is blue?"], 1)
        assert long[0].text is None
        assert long[0].error
        assert long[1] == said[1]
        # Policy and judge serve side by side.
        (rollout,) = answering.sampler.sample_stream(
            [prepared.benchmarks[0].items[0].sample], Sampling(temperature=0.0)
        )
        assert rollout.completions
    with_nobody = open_judge(recipe, tmp_path, engines)
    assert with_nobody is not None
    assert with_nobody.ask(prompts, 1) == said
