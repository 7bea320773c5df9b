"""Who answers questions, and who judges answers: the live rollout workers, or an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.asking.generate import EvalSettings
from evals.asking.judge import CachedJudge, Judge, JudgeIdentity, SamplerJudge
from recipes.engines.serving import ServingEngines
from recipes.running.prepare import LoadedBenchmark, Prepared
from recipes.schema.recipe import JudgeSection, Recipe
from rl.core import OnRefused, Rollout, Sample, Sampling, StreamingSampler
from rl.data.ahead import ImageAhead
from rl.runs.checkpoint import files_fingerprint, fingerprint
from rollouts.endpoint import Endpoint

if TYPE_CHECKING:
    from rl.runtime.cluster import RayHandle

JUDGEMENTS = "judgements.jsonl"


@dataclass(frozen=True)
class Answering:
    """A sampler, what makes images ready for it, and how it is asked. Use as a context.

    parity: what the parity gate found of the weights that are asked now, for their results; None
        where there is nothing to compare (an endpoint).
    """

    sampler: StreamingSampler
    ahead: ImageAhead
    settings: Callable[[LoadedBenchmark], EvalSettings]
    judge: Judge | None
    parity: Callable[[], Mapping[str, Any] | None] = lambda: None

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        self.ahead.close()


def of_workers(
    recipe: Recipe, prepared: Prepared, engines: ServingEngines, folder: Path
) -> Answering:
    """The live rollout workers; judgements are kept in `folder`."""
    spec = prepared.renderer.spec
    return Answering(
        engines.pool,
        ImageAhead(
            spec.resized if spec.has_vision else None, processes=recipe.evals.image_processes
        ),
        lambda loaded: worker_settings(recipe, prepared, loaded),
        open_judge(recipe, folder, engines),
        lambda: parity_facts(engines),
    )


def parity_facts(engines: ServingEngines) -> dict[str, Any]:
    """What a result records of the comparison of engine and weights: what the engine was compared
    with (`against`: the learner, a plain forward pass, or null where nothing was compared), and the
    largest and mean difference of log-probs over so many tokens.
    """
    found = engines.parity
    if found is None:
        return {"against": None}
    against = "learner" if engines.has_learner else "plain forward"
    return {
        "against": against,
        "max": found.maximum,
        "mean": found.mean,
        "tokens": found.num_tokens,
    }


def of_endpoint(recipe: Recipe, folder: Path) -> Answering:
    """The recipe's endpoint. Images above `model.max_pixels` are made smaller before they are
    sent.
    """
    limit, config = recipe.model.max_pixels, recipe.evals.endpoint
    assert config is not None
    return Answering(
        Endpoint(config),
        ImageAhead(
            within(limit) if limit is not None else None,
            processes=recipe.evals.image_processes,
            form="web",
        ),
        lambda loaded: endpoint_settings(recipe, loaded),
        open_judge(recipe, folder, None),
    )


def worker_settings(recipe: Recipe, prepared: Prepared, loaded: LoadedBenchmark) -> EvalSettings:
    """How the workers are asked a benchmark's questions."""
    return EvalSettings(
        **_settings(recipe, loaded),
        backend=recipe.rollout.engine.identity,
        dtype=recipe.rollout.dtype,
        chat_template=prepared.renderer.template,
        files=files_fingerprint(Path(recipe.model.path)),
    )


def endpoint_settings(recipe: Recipe, loaded: LoadedBenchmark) -> EvalSettings:
    """How an endpoint is asked: chat template and precision are its own."""
    config = recipe.evals.endpoint
    assert config is not None
    return EvalSettings(
        **_settings(recipe, loaded), backend=f"endpoint {config.url}", extra=config.extra
    )


def _settings(recipe: Recipe, loaded: LoadedBenchmark) -> dict[str, Any]:
    config = loaded.config
    return {
        "max_new_tokens": config.max_new_tokens or loaded.benchmark.max_new_tokens,
        "max_pixels": recipe.model.max_pixels,
        "temperature": config.temperature,
        "seed": recipe.run.seed,
        "n": config.n,
        "images": not config.no_images,
    }


def within(max_pixels: int) -> Callable[[int, int], tuple[int, int] | None]:
    """The size of an image of at most so many pixels and the same shape; None where it is small
    enough.
    """

    def size(width: int, height: int) -> tuple[int, int] | None:
        if width * height <= max_pixels:
            return None
        scale = (max_pixels / (width * height)) ** 0.5
        return max(1, int(width * scale)), max(1, int(height * scale))

    return size


def open_judge(recipe: Recipe, folder: Path, engines: ServingEngines | None) -> Judge | None:
    """The recipe's judge, its judgements kept in `folder`; a local one starts when it is first
    asked.
    """
    section = recipe.evals.judge
    if section is None:
        return None
    sampler: StreamingSampler
    if section.endpoint is not None:
        sampler = Endpoint(section.endpoint)
        identity = JudgeIdentity(
            section.endpoint.model,
            section.endpoint.fingerprint,
            f"endpoint {section.endpoint.url}",
            section.max_new_tokens,
            section.endpoint.extra,
        )
    else:
        assert section.path is not None
        assert engines is not None
        sampler = _OnFirstUse(lambda: _judge_workers(section, engines))
        path = Path(section.path)
        revision = f"{fingerprint(path)}-{files_fingerprint(path)}"
        identity = JudgeIdentity(
            path.name, revision, recipe.rollout.engine.identity, section.max_new_tokens
        )
    return CachedJudge(SamplerJudge(sampler, identity), folder / JUDGEMENTS)


class _OnFirstUse:
    """A sampler that is made when it is first asked."""

    def __init__(self, make: Callable[[], StreamingSampler]) -> None:
        self._make = make
        self._made: StreamingSampler | None = None

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error: OnRefused | None = None
    ) -> Iterator[Rollout]:
        if self._made is None:
            self._made = self._make()
        return self._made.sample_stream(samples, sampling, on_error=on_error)


def _judge_workers(section: JudgeSection, engines: ServingEngines) -> StreamingSampler:
    """A rollout worker that serves the judge's own weights beside the policy's."""
    from rl.data.render import Renderer
    from rl.models.load import find_spec, load_processor
    from rollouts.pool import Pool

    assert section.path is not None
    rollout = engines.recipe.rollout
    if section.max_model_len is not None:
        rollout = rollout.model_copy(update={"max_model_len": section.max_model_len})
    processor = load_processor(section.path)
    renderer = Renderer(processor, find_spec(section.path, processor), rollout.max_model_len)

    def start(_: int) -> RayHandle:
        return engines.start_judge(rollout, str(section.path))

    return Pool(
        [start(0)],
        renderer.prompt_text,
        max_num_seqs=rollout.max_num_seqs,
        deadline_s=rollout.deadline_s,
        restart=start,
        max_restarts=rollout.max_restarts,
    )
