"""Every registered model_type is planned, trained and served, each on a tiny checkpoint."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipes.cli.groups.recipe import plan
from rl.core import Image, Message, Sample, Sampling, Text
from rl.data.render import Renderer
from rl.data.tree import Branch, Tree
from rl.learners.base import SamplingDistribution
from rollouts.base import GenerateRequest, GenerateResult, RolloutConfig
from tests.rl.learners import zero_child
from tests.rl.learners.processes import Ranks
from tests.rl.learners.trajectory import PLAN, sft_steps
from tests.rl.models.trees import MODEL_TYPES, TEXT_ONLY, checkpoint, picture, small

QUESTIONS = ("What color is it?", "How many circles are there?")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_it_is_planned(
    model_type: str,
    request: pytest.FixtureRequest,
    scene_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = checkpoint(request, MODEL_TYPES[model_type])
    if MODEL_TYPES[model_type] in TEXT_ONLY:
        data = tmp_path / "text.jsonl"
        data.write_text('{"prompt": "How many?", "answer": "2"}\n' * 8)
    else:
        data = scene_data / "sft.jsonl"
    recipe = tmp_path / "sft.yaml"
    stage = {"name": "sft", "algorithm": "sft", "data": [{"path": str(data)}], "steps": 2}
    recipe.write_text(json.dumps({"model": {"path": str(path)}, "stages": [stage]}))
    plan(recipe, [])
    shown = capsys.readouterr().out
    assert "learner weights" in shown
    assert "sft" in shown


@pytest.fixture(scope="module")
def learner() -> Iterator[Ranks]:
    """One process that trains model after model."""
    ranks = Ranks(1, Path())
    yield ranks
    ranks.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[ProcessPoolExecutor]:
    """One process that serves model after model."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    pid = pool.submit(os.getpid).result(60)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)
    os.kill(pid, signal.SIGKILL)  # an orderly end of vLLM takes seconds


def answers(model: str, weights: str, requests: list[GenerateRequest]) -> list[GenerateResult]:
    """What an engine that took these weights answers. Runs in the server's process."""
    import gc

    from rollouts.worker import RolloutWorker

    config = RolloutConfig(
        max_model_len=256, max_images=1, engine={"kv_cache_gib": 0.25}, threads=1
    )
    worker = RolloutWorker(config, model)
    worker.update_weights(1, weights)
    found = worker.generate(requests, Sampling(max_new_tokens=8))
    del worker
    gc.collect()
    return found


@pytest.mark.engine
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_it_is_trained_two_steps_and_served(
    model_type: str,
    request: pytest.FixtureRequest,
    learner: Ranks,
    server: ProcessPoolExecutor,
    tmp_path: Path,
) -> None:
    """The engine's log-probs of its answers, under the trained weights, are the learner's."""
    path = checkpoint(request, MODEL_TYPES[model_type])
    model = small(path)
    learner.path = str(path)
    learner.start({})
    metrics, trained = learner.train([sft_steps(model)[:2]], tmp_path, PLAN)
    assert all(step["grad_norm"] > 0 for step in metrics)
    before = load_file(path / "model.safetensors")
    assert trained.keys() == before.keys()
    kept = [name for name, weight in trained.items() if torch.equal(weight, before[name])]
    assert all("vision_tower" in name for name in kept)  # LLaVA's features skip the last layer
    assert len(kept) < len(trained) / 2

    renderer = Renderer(model.processor, model.spec, max_length=256)
    samples = [sample(number, model.spec.has_vision) for number in range(len(QUESTIONS))]
    requests = [
        GenerateRequest(number, s.uid, renderer.prompt_text(s), s.images, (number,))
        for number, s in enumerate(samples)
    ]
    weights = str(tmp_path / "0.safetensors")
    served = server.submit(answers, str(path), weights, requests).result(300)
    trees = []
    for asked, result in zip(samples, served, strict=True):
        assert result.prompt_token_ids == renderer.prompt_ids(asked)
        branch = Branch(uid=asked.uid, token_ids=result.completions[0].token_ids)
        trees.append(
            Tree(
                uid=asked.uid,
                trunk_ids=result.prompt_token_ids,
                images=asked.images,
                branches=(branch,),
            )
        )
    distribution = SamplingDistribution(banned_ids=model.spec.banned_ids)
    (ours,) = learner.each(zero_child.call, [("logprobs", trees, distribution)])
    for logps, result in zip(ours, served, strict=True):
        assert len(logps[0]) >= 1
        assert logps[0] == pytest.approx(result.completions[0].behavior_logps, abs=1e-4)


def sample(number: int, has_vision: bool) -> Sample:
    """A question; the first has an image where the model takes one."""
    mark = (Image(0),) if has_vision and number == 0 else ()
    images = (picture(64, 48, number),) * len(mark)
    return Sample(str(number), (Message("user", (*mark, Text(QUESTIONS[number]))),), images)
