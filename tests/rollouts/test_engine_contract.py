"""What every engine of rollouts/engines must do, on a real tiny model: its log-probs are the
learner's, banned ids are never sampled, a completion depends on its seed alone, published weights
are served, and what cannot be served is an error of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rl.core import ImageSource, Rollout, Sample, Sampling
from rl.errors import RolloutError
from rl.runtime.publish import publish
from rollouts.base import GenerateRequest
from rollouts.pool import Pool
from tests.rollouts.gate_setup import gate_of, pool_of, training_trees

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SAMPLED = Sampling(n=8, temperature=1.0, max_new_tokens=12, seed=7)


@pytest.fixture
def learner(engine_line: Any, make_learner: Any) -> Any:
    engine_line.reset()
    return make_learner(engine_line.model, engine_line.max_pixels)


@pytest.fixture
def mixed(make_question: Callable[..., Sample]) -> list[Sample]:
    """Prompts of several lengths, some without an image."""
    return [make_question(i, with_image=i % 3 > 0, side=64 + 32 * (i % 2)) for i in range(24)]


def _ids(rollout: Rollout) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in rollout.completions]


def test_publish_of_changed_weights_matches_the_learner(
    engine_line: Any, learner: Any, probes: list[Sample]
) -> None:
    gate, pool = gate_of(engine_line, learner, probes), pool_of(engine_line, learner)
    before = gate.check(learner, pool, version=engine_line.version)
    assert before.num_tokens > 50
    learner.train(training_trees(learner, probes), steps=3)
    done = publish(learner, pool, engine_line.folder, engine_line.next_version())
    report = gate.check(learner, pool, version=done.version, path=done.path)
    assert max(report.maximum, report.text_max, report.image_max) <= 1e-5
    assert report.image_max > 0
    assert report.text_max > 0
    (rollout,) = pool.sample([probes[0]], SAMPLED)
    assert {v for c in rollout.completions for v in c.weight_versions} == {done.version}
    assert all(len(c.weight_versions) == len(c.token_ids) for c in rollout.completions)


def test_a_worker_that_is_started_again_serves_the_published_file(
    engine_line: Any,
    start_again: Callable[[Any], Any],
    learner: Any,
    probes: list[Sample],
    mixed: list[Sample],
) -> None:
    learner.train(training_trees(learner, probes))
    pool = pool_of(engine_line, learner)
    done = publish(learner, pool, engine_line.folder, engine_line.next_version())
    again = pool_of(start_again(engine_line), learner)
    again.publish(done.version, done.path)
    gate = gate_of(engine_line, learner, probes)
    assert gate.check(learner, again, version=done.version, path=done.path).maximum <= 1e-5
    for one, two in zip(pool.sample(mixed, SAMPLED), again.sample(mixed, SAMPLED), strict=True):
        assert _ids(one) == _ids(two)


def test_a_checkpoint_folder_of_several_files_is_served(
    engine_line: Any, learner: Any, probes: list[Sample]
) -> None:
    """What `plumbline eval` serves without a learner: a stage's folder, as it was saved."""
    learner.train(training_trees(learner, probes))
    folder = engine_line.folder / "sharded"
    learner.model.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    gate, pool = gate_of(engine_line, learner, probes), pool_of(engine_line, learner)
    version = engine_line.next_version()
    pool.publish(version, str(folder))
    report = gate.check(learner, pool, version=version, path=str(folder))
    assert report.maximum <= 1e-5


def test_prompts_have_the_learners_ids(engine_line: Any, learner: Any, mixed: list[Sample]) -> None:
    rollouts = pool_of(engine_line, learner).sample(mixed, replace(SAMPLED, n=1))
    assert [r.prompt_token_ids for r in rollouts] == [learner.renderer.prompt_ids(s) for s in mixed]
    assert len({len(r.prompt_token_ids) for r in rollouts}) > 2


def test_banned_ids_are_never_sampled(
    engine_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    rollouts = pool_of(engine_line, learner).sample([make_question(i) for i in range(48)], SAMPLED)
    sampled = {t for r in rollouts for c in r.completions for t in c.token_ids}
    assert len(sampled) > 300  # a random model samples nearly everything else
    assert not sampled & set(learner.spec.banned_ids)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_completion_does_not_depend_on_what_else_is_sampled(
    engine_line: Any, learner: Any, mixed: list[Sample], temperature: float
) -> None:
    pool = pool_of(engine_line, learner)
    drawn = replace(SAMPLED, temperature=temperature)
    together, backwards = pool.sample(mixed, drawn), pool.sample(mixed[::-1], drawn)[::-1]
    alone = [rollout for i in range(6) for rollout in pool.sample([mixed[i]], drawn)]
    # Group 0's first two completions have the same seeds in a group of two.
    few = pool.sample(mixed[6:12], replace(drawn, n=2))
    for one, two in zip([*together, *together[:6]], [*backwards, *alone], strict=True):
        assert _ids(one) == _ids(two)
        for a, b in zip(one.completions, two.completions, strict=True):
            # A batch of another shape rounds otherwise.
            assert a.behavior_logps == pytest.approx(b.behavior_logps, rel=0, abs=1e-5)
            assert a.text == b.text
    assert [_ids(r)[:2] for r in together[6:12]] == [_ids(r) for r in few]
    assert len(set(_ids(together[0]))) == (8 if temperature else 1)


def test_another_seed_is_another_answer(
    engine_line: Any, learner: Any, mixed: list[Sample]
) -> None:
    pool = pool_of(engine_line, learner)
    first, other = (pool.sample(mixed, replace(SAMPLED, seed=seed)) for seed in (7, 8))
    differ = [_ids(a) != _ids(b) for a, b in zip(first, other, strict=True)]
    assert all(differ)


def test_greedy_answers_repeat_and_keep_their_end(
    engine_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    greedy = Sampling(n=1, temperature=0.0, max_new_tokens=8)
    pool, samples = pool_of(engine_line, learner), [make_question(i) for i in range(4)]
    first, again = pool.sample(samples, greedy), list(pool.sample_stream(samples, greedy))
    assert {r.sample.uid: _ids(r) for r in first} == {r.sample.uid: _ids(r) for r in again}
    many = [
        c for r in pool.sample(samples, Sampling(n=64, max_new_tokens=64)) for c in r.completions
    ]
    stopped = [c for c in many if c.finish_reason == "stop"]
    assert stopped
    assert all(c.token_ids[-1] in learner.spec.eos_ids for c in stopped)
    assert all(not set(c.token_ids[:-1]) & set(learner.spec.eos_ids) for c in many)
    assert all(len(c.token_ids) == len(c.behavior_logps) for c in many)
    cut = [c for c in many if c.finish_reason != "stop"]
    assert {(c.finish_reason, len(c.token_ids)) for c in cut} == {("length", 64)}


def test_an_answer_ends_where_the_context_does(
    engine_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    longest = engine_line.config.max_model_len
    (rollout,) = pool_of(engine_line, learner).sample(
        [make_question(0)], Sampling(n=4, max_new_tokens=10 * longest, seed=3)
    )
    lengths = {
        len(rollout.prompt_token_ids) + len(c.token_ids)
        for c in rollout.completions
        if c.finish_reason == "length"
    }
    assert lengths == {longest}


def test_publishing_a_version_again_does_nothing(engine_line: Any, learner: Any) -> None:
    served = engine_line.handle.call("version", deadline_s=60)
    again = engine_line.handle.call("update_weights", served, "/nowhere", deadline_s=60)
    assert again == served
    with pytest.raises(RolloutError, match="versions that only grow"):
        engine_line.handle.call("update_weights", served - 1, "/nowhere", deadline_s=60)


def test_a_file_that_lacks_weights_is_refused(
    engine_line: Any, learner: Any, probes: list[Sample], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from rl.models.load import file_weights

    weights = {name: weight + 1 for name, weight in file_weights(learner.model).items()}
    weights.pop(max(weights))
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(RolloutError, match="weights are missing"):
        engine_line.handle.call(
            "update_weights",
            engine_line.version + 1,
            str(tmp_path / "part.safetensors"),
            deadline_s=60,
        )
    # None of the file's other weights was taken.
    gate = gate_of(engine_line, learner, probes)
    gate.check(learner, pool_of(engine_line, learner), version=engine_line.version)


def test_a_prompt_that_cannot_be_served_is_an_error_of_its_own(
    engine_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    prompt = learner.renderer.prompt_text(make_question(0))
    images = make_question(0).images
    broken = GenerateRequest(0, "broken", prompt, (ImageSource(data=b"rubbish"),), (1,))
    long = GenerateRequest(1, "long", "red " * 2000, (), (1,))
    fine = GenerateRequest(2, "fine", prompt, images, (1, 2))
    none = GenerateRequest(3, "none", prompt, (), (1,))
    two = GenerateRequest(4, "two", prompt, images * 2, (1,))
    results = engine_line.handle.call(
        "generate", [broken, long, fine, none, two], SAMPLED, deadline_s=60
    )
    assert [r.uid for r in results] == ["broken", "long", "fine", "none", "two"]
    assert "image" in results[0].error
    assert "maximum context length" in results[1].error
    assert results[2].error is None
    assert len(results[2].completions) == 2
    assert "image" in results[4].error


def test_log_probs_that_nobody_reads_are_not_computed(
    engine_line: Any, learner: Any, make_question: Callable[..., Sample]
) -> None:
    pool, samples = pool_of(engine_line, learner), [make_question(i) for i in range(4)]
    drawn = Sampling(n=2, max_new_tokens=8, seed=5)
    with_logps = pool.sample(samples, drawn)
    without = pool.sample(samples, replace(drawn, logps=False))
    for one, two in zip(with_logps, without, strict=True):
        assert _ids(one) == _ids(two)
        assert all(c.behavior_logps == () for c in two.completions)


def test_what_a_caller_gives_up_leaves_nothing_behind(
    engine_line: Any, learner: Any, probes: list[Sample], mixed: list[Sample]
) -> None:
    pool = Pool([engine_line.handle], learner.renderer.prompt_text, deadline_s=120)
    before = pool.sample(mixed, SAMPLED)
    stream = pool.sample_stream(probes, Sampling(n=4, max_new_tokens=256, seed=1))
    next(stream)
    stream.close()
    assert [_ids(r) for r in pool.sample(mixed, SAMPLED)] == [_ids(r) for r in before]
