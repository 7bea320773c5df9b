"""The transformers engine in this process: its cache, its masks, its weights and its refusals. What
every engine must do is in test_engine_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.core import Sample, Sampling
from rl.data.tree import Branch, Tree
from rl.errors import RolloutError
from rl.learners.base import SamplingDistribution
from rl.runtime.parity import without_images
from rollouts.base import GenerateRequest, GenerateResult, RolloutConfig
from rollouts.engines.transformers_engine import text_of
from rollouts.worker import RolloutWorker
from tests.rl.models.trees import FAMILIES, checkpoint

SAMPLED = Sampling(n=4, temperature=0.8, max_new_tokens=10, seed=1)
LIMITS = {"max_model_len": 512, "max_images": 2}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A worker sets the number of this process's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def worker_of(model: Path, *, engine: dict[str, Any] | None = None, **limits: Any) -> RolloutWorker:
    own = {"name": "transformers", **(engine or {})}
    config = RolloutConfig(**{**LIMITS, "threads": 1, **limits}, engine=own)
    return RolloutWorker(config, str(model))


def requests_of(learner: Any, samples: Sequence[Sample]) -> list[GenerateRequest]:
    return [
        GenerateRequest(
            number,
            sample.uid,
            learner.renderer.prompt_text(sample),
            sample.images,
            tuple(range(10 * number, 10 * number + SAMPLED.n)),
        )
        for number, sample in enumerate(samples)
    ]


def ids_of(results: Sequence[GenerateResult]) -> list[list[tuple[int, ...]]]:
    assert [result.error for result in results] == [None] * len(results)
    return [[c.token_ids for c in result.completions] for result in results]


def tree_of(sample: Sample, result: GenerateResult, count: int) -> Tree:
    """The prompt with the first answers as branches."""
    return Tree(
        uid=sample.uid,
        trunk_ids=result.prompt_token_ids,
        images=sample.images,
        branches=tuple(
            Branch(uid=str(i), token_ids=completion.token_ids)
            for i, completion in enumerate(result.completions[:count])
        ),
    )


def difference(learner: Any, samples: Sequence[Sample], results: Sequence[GenerateResult]) -> float:
    """The largest difference of a log-prob from the learner's."""
    distribution = SamplingDistribution(
        temperature=SAMPLED.temperature, banned_ids=tuple(learner.spec.banned_ids)
    )
    found = [0.0]
    for sample, result in zip(samples, results, strict=True):
        tree = tree_of(sample, result, len(result.completions))
        for logps, completion in zip(
            learner.logprobs([tree], distribution)[0], result.completions, strict=True
        ):
            pairs = zip(logps, completion.behavior_logps, strict=True)
            found += [abs(a - b) for a, b in pairs]
    return max(found)


@pytest.fixture
def mixed(make_question: Callable[..., Sample]) -> list[Sample]:
    return [make_question(i, with_image=i % 3 > 0, side=64 + 32 * (i % 2)) for i in range(9)]


def test_a_small_cache_and_few_rows_give_the_same_answers(
    tiny_qwen3vl: Path, make_learner: Any, mixed: list[Sample]
) -> None:
    learner = make_learner(tiny_qwen3vl)
    requests = requests_of(learner, mixed)
    whole = worker_of(tiny_qwen3vl).generate(requests, SAMPLED)
    assert difference(learner, mixed, whole) <= 1e-5
    # 3 rows at once: a group of four is started in parts.
    assert ids_of(worker_of(tiny_qwen3vl, max_num_seqs=3).generate(requests, SAMPLED)) == ids_of(
        whole
    )
    # A cache of less than one answer still computes one at a time, one of 4 MiB some.
    for gib in (1e-9, 4 / 1024):
        small = worker_of(tiny_qwen3vl, engine={"kv_cache_gib": gib})
        assert ids_of(small.generate(requests, SAMPLED)) == ids_of(whole)


def test_the_cache_stays_within_its_memory(
    tiny_qwen3vl: Path, make_learner: Any, mixed: list[Sample]
) -> None:
    gib = 2 / 1024
    worker = worker_of(tiny_qwen3vl, engine={"kv_cache_gib": gib})
    engine: Any = worker.engine
    for request in requests_of(make_learner(tiny_qwen3vl), mixed):
        engine.add(request, SAMPLED)
    most = 0
    while engine.num_unfinished:
        engine.step()
        tensors = [tensor for pair in engine._cache._layers.values() for tensor in pair]
        assert sum(tensor.nbytes for tensor in tensors) <= gib * 2**30
        most = max(most, len(engine._rows))
    assert 1 < most < 4 * len(mixed)


def test_eager_attention_gives_the_learners_log_probs(
    tiny_qwen3vl: Path, make_learner: Any, mixed: list[Sample]
) -> None:
    learner = make_learner(tiny_qwen3vl)
    eager = worker_of(tiny_qwen3vl, engine={"attention": "eager"})
    assert difference(learner, mixed, eager.generate(requests_of(learner, mixed), SAMPLED)) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_served_and_takes_published_weights(
    request: pytest.FixtureRequest,
    make_learner: Any,
    mixed: list[Sample],
    family: str,
    tmp_path: Path,
) -> None:
    model = checkpoint(request, family)
    learner, worker = make_learner(model), worker_of(model)
    samples = mixed if learner.spec.has_vision else [without_images(s) for s in mixed]
    requests = requests_of(learner, samples)
    first = worker.generate(requests, SAMPLED)
    assert [r.prompt_token_ids for r in first] == [learner.renderer.prompt_ids(s) for s in samples]
    assert difference(learner, samples, first) <= 1e-5
    learner.train([tree_of(s, r, 1) for s, r in zip(samples, first, strict=True)], steps=2)
    learner.publish(str(tmp_path / "weights.safetensors"))
    worker.update_weights(1, str(tmp_path / "weights.safetensors"))
    then = worker.generate(requests, SAMPLED)
    assert difference(learner, samples, then) <= 1e-5
    assert difference(learner, samples, first) > 1e-3
    assert {v for r in then for c in r.completions for v in c.weight_versions} == {1}


def test_a_window_is_the_models_own(
    tiny_qwen3: Path, make_learner: Any, mixed: list[Sample], tmp_path: Path
) -> None:
    """Layers that see the last 24 tokens only, beside layers that see all."""
    import json
    import shutil

    folder = tmp_path / "windowed"
    shutil.copytree(tiny_qwen3, folder)
    config = json.loads((folder / "config.json").read_text())
    kinds = ["sliding_attention", "full_attention"]
    config |= {"use_sliding_window": True, "sliding_window": 24, "layer_types": kinds}
    (folder / "config.json").write_text(json.dumps(config))
    samples = [without_images(sample) for sample in mixed]
    whole, windowed = make_learner(tiny_qwen3), make_learner(folder)
    results = worker_of(folder).generate(requests_of(whole, samples), SAMPLED)
    assert difference(windowed, samples, results) <= 1e-5
    assert difference(whole, samples, results) > 1e-4


def test_half_precision_is_near_the_learner(
    tiny_qwen3vl: Path, make_learner: Any, mixed: list[Sample]
) -> None:
    learner = make_learner(tiny_qwen3vl)
    half = worker_of(tiny_qwen3vl, dtype="bfloat16").generate(requests_of(learner, mixed), SAMPLED)
    assert 0 < difference(learner, mixed, half) < 0.05


def test_a_file_of_other_shapes_is_refused_whole(
    tiny_qwen3: Path, make_learner: Any, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from rl.models.load import file_weights

    learner, worker = make_learner(tiny_qwen3), worker_of(tiny_qwen3)
    engine: Any = worker.engine
    before = {name: weight.clone() for name, weight in engine._weights.items()}
    weights = {name: weight + 1 for name, weight in file_weights(learner.model).items()}
    weights[max(weights)] = torch.zeros(3)
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(RolloutError, match=r"has the shape \(3,\)"):
        worker.update_weights(1, str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(weight, before[name]) for name, weight in engine._weights.items())
    assert worker.version() == 0


def test_layers_of_another_kind_are_refused(
    tiny_qwen3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rl.models.families.qwen3 import Qwen3

    monkeypatch.setattr(Qwen3, "layout", "rows")
    with pytest.raises(RolloutError, match="layers of the kind full_attention"):
        worker_of(tiny_qwen3)


def test_a_sampler_that_cuts_the_tail_is_refused(
    tiny_qwen3: Path, make_learner: Any, mixed: list[Sample]
) -> None:
    requests = requests_of(make_learner(tiny_qwen3), [without_images(s) for s in mixed[:1]])
    (result,) = worker_of(tiny_qwen3).generate(requests, Sampling(n=1, top_p=0.9))
    assert result.error is not None
    assert "top_p = 0.9" in result.error


def test_too_many_images_are_an_error_of_their_own(
    tiny_qwen3vl: Path, make_learner: Any, make_question: Callable[..., Sample]
) -> None:
    learner = make_learner(tiny_qwen3vl)
    (fine,) = requests_of(learner, [make_question(1)])
    broken = GenerateRequest(1, "many", fine.prompt, fine.images * 3, (1,))
    ended = worker_of(tiny_qwen3vl).generate([broken, fine], SAMPLED)
    assert "3 images in one prompt" in str(ended[0].error)
    assert ended[1].error is None


def test_text_ends_before_an_unfinished_character(tiny_qwen3: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_qwen3)
    ids = tokenizer("a\N{EURO SIGN}", add_special_tokens=False)["input_ids"]
    assert text_of(tokenizer, ids, ids) == "a\N{EURO SIGN}"
    assert text_of(tokenizer, ids, ids[:-1]) == "a"
    assert text_of(tokenizer, ids, [*ids, tokenizer.eos_token_id]) == "a\N{EURO SIGN}"
