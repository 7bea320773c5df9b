"""Real vLLM on tiny models: every fault the gate names, its core in a process of its own, and its
answers beside those of the transformers engine. What every engine must do is in
test_engine_contract.py.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rl.core import Sample, Sampling
from rl.data.tree import Branch, Tree
from rl.errors import ActorLostError, DeadlineError, ParityError
from rl.learners.base import SamplingDistribution
from rl.runtime.parity import choose_probes, without_images
from rl.runtime.publish import publish
from rollouts.base import RolloutConfig
from rollouts.engines.transformers_engine import text_of
from rollouts.pool import Pool
from rollouts.worker import RolloutWorker
from tests.processes import engine_cores
from tests.rollouts.gate_setup import gate_of, pool_of, training_trees

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SAMPLED = Sampling(n=8, temperature=1.0, max_new_tokens=12, seed=7)


@pytest.fixture
def learner(vl_line: Any, make_learner: Any) -> Any:
    vl_line.reset()
    return make_learner(vl_line.model, vl_line.max_pixels)


@pytest.mark.parametrize(
    ("skipped", "cause"),
    [
        ("reset_prefix_cache", "prefix cache was not reset"),
        ("reset_encoder_cache", "encoder cache was not reset"),
        ("repack_tied_head", "lm_head was not repacked"),
        ("load_weights", "publish was not taken"),
    ],
)
def test_a_publish_that_skips_a_part_stops_at_the_gate(
    vl_line: Any, learner: Any, probes: list[Sample], skipped: str, cause: str
) -> None:
    gate, pool = gate_of(vl_line, learner, probes, 1e-4), pool_of(vl_line, learner)
    gate.check(learner, pool, version=vl_line.version)  # the caches now hold the probes
    learner.train(training_trees(learner, probes))
    with vl_line.handle.without(skipped):
        done = publish(learner, pool, vl_line.folder, vl_line.next_version())
    with pytest.raises(ParityError, match=cause) as caught:
        gate.check(learner, pool, version=done.version, path=done.path)
    assert f"version {done.version}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_max_pixels_on_one_side_is_named(
    vl_line: Any, learner: Any, make_learner: Any, probes: list[Sample]
) -> None:
    smaller = make_learner(vl_line.model, 32 * 32)
    gate = gate_of(vl_line, smaller, probes, 1e-4)
    with pytest.raises(ParityError, match=r"image tokens.*max_pixels"):
        gate.check(smaller, pool_of(vl_line, learner), version=vl_line.version)


def test_another_prompt_on_one_side_is_named(
    vl_line: Any, learner: Any, probes: list[Sample]
) -> None:
    def prompt_ids(sample: Sample) -> tuple[int, ...]:
        ids: tuple[int, ...] = learner.renderer.prompt_ids(sample)
        return (*ids[:-1], ids[-1] + 1)

    gate = gate_of(vl_line, learner, probes, prompt_ids=prompt_ids)
    with pytest.raises(ParityError, match="chat templates"):
        gate.check(learner, pool_of(vl_line, learner), version=vl_line.version)


def test_a_completion_depends_on_its_own_seed_alone(
    vl_line: Any, second_handle: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    samples = [make_question(i) for i in range(24)]
    together = pool_of(vl_line, learner).sample(samples, SAMPLED)
    spread = pool_of(vl_line, learner, second_handle).sample(samples[::-1], SAMPLED)[::-1]
    alone = pool_of(vl_line, learner).sample(samples[5:6], SAMPLED)
    ids = [[c.token_ids for c in r.completions] for r in together]
    assert ids == [[c.token_ids for c in r.completions] for r in spread]
    # A batch of another shape rounds otherwise. A token flips only where its draw lies within this
    # of the border between two: none of these 24 x 8 answers.
    for one, two in zip(together, spread, strict=True):
        for a, b in zip(one.completions, two.completions, strict=True):
            assert a.behavior_logps == pytest.approx(b.behavior_logps, rel=0, abs=1e-6)
    assert ids[5] == [c.token_ids for c in alone[0].completions]
    assert len({tuple(group) for group in ids[0]}) == 8
    assert [r.sample.uid for r in together] == [s.uid for s in samples]


def test_the_engine_core_of_its_own_process_takes_published_weights(
    second_handle: Any, vl_line: Any, learner: Any, probes: list[Sample], tmp_path: Path
) -> None:
    gate = gate_of(vl_line, learner, probes)
    pool = Pool([second_handle], learner.renderer.prompt_text, deadline_s=120)
    learner.train(training_trees(learner, probes))
    done = publish(learner, pool, tmp_path, second_handle.call("version", deadline_s=60) + 1)
    assert gate.check(learner, pool, version=done.version, path=done.path).maximum <= 1e-5
    (rollout,) = pool.sample([probes[0]], SAMPLED)
    assert {v for c in rollout.completions for v in c.weight_versions} == {done.version}
    # A caller that stops early leaves nothing behind.
    stream = pool.sample_stream(probes, Sampling(n=4, max_new_tokens=256, seed=1))
    next(stream)
    stream.close()
    again = publish(learner, pool, tmp_path, done.version + 1)
    assert gate.check(learner, pool, version=again.version, path=again.path).maximum <= 1e-5


def test_an_engine_for_gpu_transports_takes_a_file(
    gpu_line: Any, make_learner: Any, make_question: Callable[..., Sample]
) -> None:
    """vLLM's own backends under our names: what a restarted worker has to take."""
    learner = make_learner(gpu_line.model)
    samples = [without_images(make_question(i)) for i in range(8)]
    probes = choose_probes(samples, has_vision=False)
    learner.train(training_trees(learner, probes))
    gate, pool = gate_of(gpu_line, learner, probes), pool_of(gpu_line, learner)
    done = publish(learner, pool, gpu_line.folder, 1)
    assert gate.check(learner, pool, version=1, path=done.path).maximum <= 1e-5


def test_a_hanging_engine_core_ends_within_the_deadline(
    second_handle: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    (core,) = engine_cores(second_handle.pid)
    pool = Pool([second_handle], learner.renderer.prompt_text, deadline_s=3)
    os.kill(core, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineError, match="rollout-1"):
            pool.sample([make_question(0)], SAMPLED)
    finally:
        os.kill(core, signal.SIGCONT)


def test_a_core_killed_in_the_middle_of_a_publish_ends_its_worker(
    second_handle: Any, vl_line: Any
) -> None:
    """No answer comes to a call that the core dies under, and no error: the worker looks."""
    (core,) = engine_cores(second_handle.pid)
    (file,) = vl_line.model.glob("*.safetensors")
    os.kill(core, signal.SIGSTOP)
    call = second_handle.submit("reload_weights", 99, str(file))
    threading.Timer(1.0, os.kill, (core, signal.SIGKILL)).start()
    with pytest.raises(ActorLostError, match="the actor died"):
        call.result(60)
    assert second_handle.exit_code() == 70


def test_other_families_take_published_weights(
    other_line: Any, make_learner: Any, make_question: Callable[..., Sample]
) -> None:
    learner = make_learner(other_line.model)
    samples = [make_question(i) for i in range(8)]
    if not learner.spec.has_vision:
        samples = [without_images(sample) for sample in samples]
    probes = choose_probes(samples, has_vision=learner.spec.has_vision)
    gate, pool = gate_of(other_line, learner, probes), pool_of(other_line, learner)
    gate.check(learner, pool, version=0)
    learner.train(training_trees(learner, probes))
    done = publish(learner, pool, other_line.folder, 1)
    assert gate.check(learner, pool, version=1, path=done.path).maximum <= 1e-5


@pytest.mark.parametrize("family", ["tiny_qwen3vl", "tiny_qwen3", "tiny_llava"])
def test_a_small_model_is_loaded_at_once_in_the_bits_of_vllms_own_reload(
    request: pytest.FixtureRequest, family: str, tmp_path: Path
) -> None:
    model, other = Path(request.getfixturevalue(family)), tmp_path / "other.safetensors"
    (file,) = model.glob("*.safetensors")
    drawn = torch.Generator().manual_seed(0)
    changed = {
        name: weight * (1 + 0.3 * torch.randn(weight.shape, generator=drawn))
        for name, weight in load_file(file).items()
    }
    save_file(changed, other, metadata={"format": "pt"})
    command = [sys.executable, "-m", "tests.rollouts.reload_child", str(model), str(other)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["at_once"] == [True] * 3 + [False] * 3
    at_once, by_layer = said["answers"]
    assert at_once == by_layer
    assert at_once[0] == at_once[2] != at_once[1]


def test_images_made_ready_ahead_give_the_same_answers(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    from rl.data.ahead import ImageAhead

    drawn = Sampling(n=2, max_new_tokens=8, seed=5)
    pool, samples = pool_of(vl_line, learner), [make_question(i, side=300) for i in range(6)]
    with ImageAhead(learner.spec.resized, processes=1) as ahead:
        ready = list(ahead.samples(samples))
    assert all(a.images != b.images for a, b in zip(samples, ready, strict=True))
    for one, two in zip(pool.sample(samples, drawn), pool.sample(ready, drawn), strict=True):
        assert one.prompt_token_ids == two.prompt_token_ids
        for a, b in zip(one.completions, two.completions, strict=True):
            assert a.token_ids == b.token_ids
            assert a.behavior_logps == pytest.approx(b.behavior_logps, rel=0, abs=1e-6)


def test_greedy_answers_of_both_engines_are_equal_up_to_a_tie(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    samples = [make_question(i, side=96 if i == 3 else 64) for i in range(12)]
    _require_same_answers(vl_line, learner, samples)


def test_greedy_answers_of_other_families_are_equal_up_to_a_tie(
    other_line: Any, make_learner: Any, make_question: Callable[..., Sample]
) -> None:
    other_line.reset()
    learner = make_learner(other_line.model)
    samples = [make_question(i) for i in range(12)]
    if not learner.spec.has_vision:
        samples = [without_images(sample) for sample in samples]
    _require_same_answers(other_line, learner, samples)


def _require_same_answers(line: Any, learner: Any, samples: list[Sample]) -> None:
    """Prompts have the same ids; greedy answers are equal up to a token whose two best log-probs
    lie within 1e-4; and the ids that vLLM sampled become the same text, broken characters too."""
    import torch

    limits = {"max_model_len": 512, "max_images": 1, "threads": torch.get_num_threads()}
    config = RolloutConfig(**limits, engine="transformers")
    ours = _InThisProcess(RolloutWorker(config, str(line.model), line.max_pixels))
    greedy = Sampling(n=1, temperature=0.0, max_new_tokens=48)
    theirs = pool_of(line, learner).sample(samples, greedy)
    mine = Pool([ours], learner.renderer.prompt_text).sample(samples, greedy)
    equal = 0
    for one, two in zip(theirs, mine, strict=True):
        assert one.prompt_token_ids == two.prompt_token_ids
        (a,), (b,) = one.completions, two.completions
        pairs = zip(a.token_ids, b.token_ids, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        assert a.behavior_logps[:same] == pytest.approx(b.behavior_logps[:same], rel=0, abs=1e-4)
        if a.token_ids == b.token_ids:
            assert (a.text, a.finish_reason) == (b.text, b.finish_reason)
            equal += 1
            continue
        tree = Tree(
            uid=one.sample.uid,
            trunk_ids=one.prompt_token_ids,
            images=one.sample.images,
            branches=tuple(Branch(uid=c.text, token_ids=c.token_ids[: same + 1]) for c in (a, b)),
        )
        ends = SamplingDistribution(temperature=1.0, banned_ids=tuple(learner.spec.banned_ids))
        first, second = (logps[-1] for logps in learner.logprobs([tree], ends)[0])
        assert abs(first - second) < 1e-4
    assert equal > len(samples) // 2
    for rollout in pool_of(line, learner).sample(samples, Sampling(n=16, max_new_tokens=48)):
        for c in rollout.completions:
            shown = c.token_ids[:-1] if c.finish_reason == "stop" else c.token_ids
            assert text_of(learner.spec.tokenizer, rollout.prompt_token_ids, shown) == c.text


class _InThisProcess:
    """A worker as a Handle: every call is made at once."""

    name = "here"

    def __init__(self, worker: RolloutWorker) -> None:
        self._worker = worker

    def submit(self, method: str, *args: Any) -> _Done:
        return _Done(getattr(self._worker, method)(*args))


@dataclass
class _Done:
    value: Any

    def result(self, deadline_s: float) -> Any:
        return self.value
