"""The gate's logic on fakes; tests/rollouts/test_engine.py shows it on a real engine."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from rl.core import Completion, Image, ImageSource, Message, Rollout, Sample, Sampling, Text
from rl.data.tree import Tree
from rl.errors import ConfigError, ParityError
from rl.learners.base import SamplingDistribution
from rl.runtime.parity import ParityGate, choose_probes
from rollouts.engines.vllm_settings import Vllm

IMAGE_TOKEN = 99
VIEW = SamplingDistribution(temperature=0.7, banned_ids=(IMAGE_TOKEN,))


def _png(width: int) -> ImageSource:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, 8)).save(buffer, "PNG")
    return ImageSource(data=buffer.getvalue())


def _samples(count: int = 8) -> list[Sample]:
    messages = (Message("user", (Image(0), Text("What?"))),)
    return [Sample(f"s{i}", messages, (_png(8 + i),)) for i in range(count)]


def _ids(sample: Sample) -> tuple[int, ...]:
    return (1, *(IMAGE_TOKEN,) * 3, 2) if sample.images else (1, 2)


class FakeLearner:
    """Log-probs of -1 at the gate's distribution, others elsewhere."""

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        value = {VIEW: -1.0, SamplingDistribution(temperature=0.7): -1.5}.get(distribution, -2.0)
        return [[(value,) * len(b.token_ids) for b in tree.branches] for tree in trees]


@dataclass
class FakePool:
    """Off by `error` (on images only where asked) until `mended_by` was tried."""

    error: float = 0.0
    mended_by: str | None = None
    images_only: bool = False
    prompt: dict[bool, tuple[int, ...]] | None = None
    tried: list[str] = field(default_factory=list)
    asked: list[Sampling] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return ["rollout-0", "rollout-1"]

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]:
        self.asked.append(sampling)
        return [self._rollout(worker, sample, sampling.n) for sample in samples]

    def _rollout(self, worker: int, sample: Sample, n: int) -> Rollout:
        is_off = worker == 1 and (bool(sample.images) or not self.images_only)
        is_off = is_off and (self.mended_by is None or self.mended_by not in self.tried)
        logp = -1.0 + (self.error if is_off else 0.0)
        ids = self.prompt[bool(sample.images)] if self.prompt else _ids(sample)
        return Rollout(sample, ids, (Completion((3, 4), (logp, -1.0), "x", "stop", (0, 0)),) * n)

    def remedy(self, name: str, version: int, path: str) -> None:
        self.tried.append(name)


def _gate(**options: object) -> ParityGate:
    return ParityGate(
        choose_probes(_samples()), _ids, VIEW, image_token_id=IMAGE_TOKEN,
        remedies=Vllm.remedies, **options  # type: ignore[arg-type]
    )  # fmt: skip


def test_agreement_passes_and_is_measured() -> None:
    pool = FakePool(error=5e-5)
    report = _gate().check(FakeLearner(), pool, version=3)
    assert report.metrics["parity/max"] == pytest.approx(5e-5)
    assert report.metrics["parity/mean"] == pytest.approx(5e-5 / 4)
    assert report.num_tokens == 2 * 8 * 2 * 2
    assert report.worst.startswith("rollout-1")
    assert {s.temperature for s in pool.asked} == {0.7}
    assert {s.step for s in pool.asked} == {3}
    assert pool.tried == []


@pytest.mark.parametrize(
    ("remedy", "cause"),
    [
        ("prefix_cache", "prefix cache"),
        ("encoder_cache", "encoder cache"),
        ("tied_head", "lm_head"),
        ("publish", "not taken"),
    ],
)
def test_the_remedy_that_helps_names_the_cause(remedy: str, cause: str) -> None:
    pool = FakePool(error=0.3, mended_by=remedy)
    with pytest.raises(ParityError, match=cause) as caught:
        _gate().check(FakeLearner(), pool, version=5, path="weights-000005.safetensors")
    assert pool.tried[-1] == remedy
    assert "rollout-1" in str(caught.value)
    assert "version 5" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_without_a_file_there_is_nothing_to_publish_again() -> None:
    pool = FakePool(error=0.3)
    with pytest.raises(ParityError, match="weights, dtype"):
        _gate().check(FakeLearner(), pool, version=0)
    assert pool.tried == ["prefix_cache", "encoder_cache", "tied_head"]


def test_images_alone_that_differ_point_at_the_processor() -> None:
    with pytest.raises(ParityError, match=r"only the probes with images.*max_pixels"):
        _gate().check(FakeLearner(), FakePool(error=0.3, images_only=True), version=0)


def test_a_nan_does_not_pass() -> None:
    with pytest.raises(ParityError):
        _gate().check(FakeLearner(), FakePool(error=float("nan")), version=0)


class OtherView(FakePool):
    """An engine whose log-probs are of another distribution throughout."""

    logp = -2.0

    def _rollout(self, worker: int, sample: Sample, n: int) -> Rollout:
        ids = _ids(sample)
        logps = (self.logp, self.logp)
        return Rollout(sample, ids, (Completion((3, 4), logps, "x", "stop", (0, 0)),) * n)


def test_log_probs_at_temperature_one_are_recognised() -> None:
    with pytest.raises(ParityError, match="at temperature 1"):
        _gate().check(FakeLearner(), OtherView(), version=0)


def test_a_missing_ban_is_recognised() -> None:
    pool = OtherView()
    pool.logp = -1.5
    with pytest.raises(ParityError, match="does not ban"):
        _gate().check(FakeLearner(), pool, version=0)


@pytest.mark.parametrize(
    ("with_image", "text", "cause"),
    [
        ((1, *(IMAGE_TOKEN,) * 2, 2), (1, 2), "max_pixels"),
        ((7, 1, *(IMAGE_TOKEN,) * 3, 2), (7, 1, 2), "BOS"),
        ((1, *(IMAGE_TOKEN,) * 3, 8), (1, 8), "chat templates"),
        ((1, *(IMAGE_TOKEN,) * 3, 2), (1, 2, 2), "chat templates"),
    ],
)
def test_prompts_read_differently_are_named(
    with_image: tuple[int, ...], text: tuple[int, ...], cause: str
) -> None:
    pool = FakePool(prompt={True: with_image, False: text})
    with pytest.raises(ParityError, match=cause):
        _gate().check(FakeLearner(), pool, version=0)


def test_half_precision_is_judged_by_the_mean() -> None:
    report = _gate(dtype="bfloat16").check(FakeLearner(), FakePool(error=0.05), version=0)
    assert report.maximum == pytest.approx(0.05)
    with pytest.raises(ParityError, match="mean"):
        _gate(dtype="bfloat16").check(FakeLearner(), FakePool(error=0.2), version=0)


def test_probes_are_fixed_from_large_to_small_images() -> None:
    probes = choose_probes(_samples(20))
    assert probes == choose_probes(_samples(20))
    assert [bool(probe.images) for probe in probes] == [True] * 6 + [False] * 2
    assert probes[0].uid.endswith("s19")
    assert len({probe.uid for probe in probes}) == 8


def test_a_text_only_model_gets_text_probes() -> None:
    text = [Sample(f"t{i}", (Message("user", (Text("What?"),)),)) for i in range(3)]
    probes = choose_probes(text, has_vision=False)
    assert len({probe.uid for probe in probes}) == 8
    assert not any(probe.images for probe in probes)


def test_too_few_probes_or_greedy_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match="8 or more"):
        ParityGate(_samples(7), _ids, VIEW)
    with pytest.raises(ConfigError, match="sampled"):
        ParityGate(_samples(8), _ids, SamplingDistribution(temperature=0.0))
    with pytest.raises(ConfigError, match="no sample"):
        choose_probes([])
