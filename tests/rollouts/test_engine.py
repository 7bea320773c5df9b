"""Real vLLM on tiny models: the sampling contract, publish, and every fault the gate names."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rl.core import ImageSource, Sample, Sampling
from rl.data.tree import Branch, Tree
from rl.errors import ActorLostError, DeadlineError, ParityError, RolloutError
from rl.learners.base import SamplingDistribution
from rl.runtime.parity import ParityGate, choose_probes, without_images
from rl.runtime.publish import publish
from rollouts.base import GenerateRequest
from rollouts.engines.vllm_settings import Vllm
from rollouts.pool import Pool
from tests.processes import engine_cores

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SAMPLED = Sampling(n=8, temperature=1.0, max_new_tokens=12, seed=7)


def _pool(line: Any, learner: Any, *handles: Any) -> Pool:
    return Pool([line.handle, *handles], learner.renderer.prompt_text, deadline_s=120)


def _gate(learner: Any, probes: list[Sample], tolerance: float = 1e-5, **kwargs: Any) -> ParityGate:
    distribution = SamplingDistribution(temperature=0.9, banned_ids=tuple(learner.spec.banned_ids))
    return ParityGate(
        probes,
        kwargs.pop("prompt_ids", learner.renderer.prompt_ids),
        distribution,
        tolerance=tolerance,
        image_token_id=learner.spec.image_token_id,
        remedies=Vllm.remedies,
        **kwargs,
    )


def _training_trees(learner: Any, samples: list[Sample]) -> list[Tree]:
    rng = random.Random(0)
    return [
        Tree(
            uid=sample.uid,
            trunk_ids=learner.renderer.prompt_ids(sample),
            images=sample.images,
            branches=(Branch(uid="0", token_ids=tuple(rng.randrange(100, 300) for _ in range(6))),),
        )
        for sample in samples
    ]


@pytest.fixture
def probes(make_question: Callable[..., Sample]) -> list[Sample]:
    return choose_probes([make_question(i, side=96 if i == 3 else 64) for i in range(8)])


@pytest.fixture
def learner(vl_line: Any, make_learner: Any) -> Any:
    vl_line.reset()
    return make_learner(vl_line.model, vl_line.max_pixels)


def test_publish_of_changed_weights_matches_the_learner(
    vl_line: Any, learner: Any, probes: list[Sample]
) -> None:
    gate, pool = _gate(learner, probes), _pool(vl_line, learner)
    before = gate.check(learner, pool, version=vl_line.version)
    assert before.num_tokens > 50
    learner.train(_training_trees(learner, probes), steps=3)
    done = publish(learner, pool, vl_line.folder, vl_line.next_version())
    report = gate.check(learner, pool, version=done.version, path=done.path)
    assert max(report.maximum, report.text_max, report.image_max) <= 1e-5
    assert report.image_max > 0
    assert report.text_max > 0
    (rollout,) = pool.sample([probes[0]], SAMPLED)
    assert {v for c in rollout.completions for v in c.weight_versions} == {done.version}


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
    gate, pool = _gate(learner, probes, 1e-4), _pool(vl_line, learner)
    gate.check(learner, pool, version=vl_line.version)  # the caches now hold the probes
    learner.train(_training_trees(learner, probes))
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
    gate = _gate(smaller, probes, 1e-4)
    with pytest.raises(ParityError, match=r"image tokens.*max_pixels"):
        gate.check(smaller, _pool(vl_line, learner), version=vl_line.version)


def test_another_prompt_on_one_side_is_named(
    vl_line: Any, learner: Any, probes: list[Sample]
) -> None:
    def prompt_ids(sample: Sample) -> tuple[int, ...]:
        ids: tuple[int, ...] = learner.renderer.prompt_ids(sample)
        return (*ids[:-1], ids[-1] + 1)

    gate = _gate(learner, probes, prompt_ids=prompt_ids)
    with pytest.raises(ParityError, match="chat templates"):
        gate.check(learner, _pool(vl_line, learner), version=vl_line.version)


def test_banned_ids_are_never_sampled(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    rollouts = _pool(vl_line, learner).sample([make_question(i) for i in range(48)], SAMPLED)
    sampled = {t for r in rollouts for c in r.completions for t in c.token_ids}
    assert len(sampled) > 300  # a random model samples nearly everything else
    assert not sampled & set(learner.spec.banned_ids)


def test_a_completion_depends_on_its_own_seed_alone(
    vl_line: Any, second_handle: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    samples = [make_question(i) for i in range(24)]
    together = _pool(vl_line, learner).sample(samples, SAMPLED)
    spread = _pool(vl_line, learner, second_handle).sample(samples[::-1], SAMPLED)[::-1]
    alone = _pool(vl_line, learner).sample(samples[5:6], SAMPLED)
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


def test_greedy_answers_repeat_and_keep_their_end(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    greedy = Sampling(n=1, temperature=0.0, max_new_tokens=8)
    pool, samples = _pool(vl_line, learner), [make_question(i) for i in range(4)]
    first, again = pool.sample(samples, greedy), list(pool.sample_stream(samples, greedy))
    assert {r.sample.uid: r.completions[0].token_ids for r in first} == {
        r.sample.uid: r.completions[0].token_ids for r in again
    }
    many = pool.sample(samples, Sampling(n=64, max_new_tokens=64))
    stopped = [c for r in many for c in r.completions if c.finish_reason == "stop"]
    assert stopped
    assert all(c.token_ids[-1] in learner.spec.eos_ids for c in stopped)
    assert all(len(c.token_ids) == len(c.behavior_logps) for c in stopped)


def test_publishing_a_version_again_does_nothing(vl_line: Any, learner: Any) -> None:
    served = vl_line.handle.call("version", deadline_s=60)
    again = vl_line.handle.call("update_weights", served, "/nowhere", deadline_s=60)
    assert again == served
    with pytest.raises(RolloutError, match="versions that only grow"):
        vl_line.handle.call("update_weights", served - 1, "/nowhere", deadline_s=60)


def test_a_file_that_lacks_weights_is_refused(vl_line: Any, learner: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"model.norm.weight": torch.zeros(4)}, tmp_path / "part.safetensors")
    with pytest.raises(RolloutError, match="weights are missing"):
        vl_line.handle.call(
            "update_weights", vl_line.version + 1, str(tmp_path / "part.safetensors"), deadline_s=60
        )


def test_a_prompt_that_cannot_be_served_is_an_error_of_its_own(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    prompt = learner.renderer.prompt_text(make_question(0))
    broken = GenerateRequest(0, "broken", prompt, (ImageSource(data=b"rubbish"),), (1,))
    long = GenerateRequest(1, "long", "red " * 2000, (), (1,))
    fine = GenerateRequest(2, "fine", prompt, make_question(0).images, (1, 2))
    results = vl_line.handle.call("generate", [broken, long, fine], SAMPLED, deadline_s=60)
    assert [r.uid for r in results] == ["broken", "long", "fine"]
    assert "image" in results[0].error
    assert "maximum context length" in results[1].error
    assert results[2].error is None
    assert len(results[2].completions) == 2


def test_the_engine_core_of_its_own_process_takes_published_weights(
    second_handle: Any, learner: Any, probes: list[Sample], tmp_path: Path
) -> None:
    gate = _gate(learner, probes)
    pool = Pool([second_handle], learner.renderer.prompt_text, deadline_s=120)
    learner.train(_training_trees(learner, probes))
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
    """vLLM's own backends under our names: what a worker that starts anew has to take."""
    learner = make_learner(gpu_line.model)
    samples = [without_images(make_question(i)) for i in range(8)]
    probes = choose_probes(samples, has_vision=False)
    learner.train(_training_trees(learner, probes))
    gate, pool = _gate(learner, probes), _pool(gpu_line, learner)
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
    gate, pool = _gate(learner, probes), _pool(other_line, learner)
    gate.check(learner, pool, version=0)
    learner.train(_training_trees(learner, probes))
    done = publish(learner, pool, other_line.folder, 1)
    assert gate.check(learner, pool, version=1, path=done.path).maximum <= 1e-5


def test_images_made_ready_ahead_give_the_same_answers(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    from rl.data.ahead import ImageAhead

    drawn = Sampling(n=2, max_new_tokens=8, seed=5)
    pool, samples = _pool(vl_line, learner), [make_question(i, side=300) for i in range(6)]
    with ImageAhead(learner.spec.resized, processes=1) as ahead:
        ready = list(ahead.samples(samples))
    assert all(a.images != b.images for a, b in zip(samples, ready, strict=True))
    for one, two in zip(pool.sample(samples, drawn), pool.sample(ready, drawn), strict=True):
        assert one.prompt_token_ids == two.prompt_token_ids
        for a, b in zip(one.completions, two.completions, strict=True):
            assert a.token_ids == b.token_ids
            assert a.behavior_logps == pytest.approx(b.behavior_logps, rel=0, abs=1e-6)


def test_log_probs_that_nobody_reads_are_not_computed(
    vl_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    pool, samples = _pool(vl_line, learner), [make_question(i) for i in range(4)]
    drawn = Sampling(n=2, max_new_tokens=8, seed=5)
    with_logps = pool.sample(samples, drawn)
    without = pool.sample(samples, replace(drawn, logps=False))
    for one, two in zip(with_logps, without, strict=True):
        assert [c.token_ids for c in one.completions] == [c.token_ids for c in two.completions]
        assert all(c.behavior_logps == () for c in two.completions)
