"""The parity gate: engine and learner must compute the same log-probs of the same sampled tokens.

GRPO's loss has the ratio between the learner's and the engine's probability of a token. If the two
compute different things, because a cache is stale or weights were loaded in part, training
continues without a message and learns from wrong ratios. So at the start and after every publish
the gate samples a few fixed prompts (probes) from every engine and compares the log-probs that the
engine returns with those of a learner's forward. A difference above the tolerance stops the run.

To name the cause, the gate changes one thing at a time: it compares under other temperatures and
banned ids, and then resets one cache after the other. The first change that removes the difference
is reported as the likely cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from rl.core import Message, Rollout, Sample, Sampling, Text
from rl.data.tree import Tree, rollout_tree
from rl.errors import ConfigError, ParityError
from rl.learners.base import SamplingDistribution
from rl.runtime.remedy import PUBLISH, Remedy

MIN_PROBES, MIN_IMAGE_PROBES = 8, 6
TOLERANCE = {"float32": 1e-4}  # of the largest difference
MEAN_TOLERANCE = 0.02  # of the mean difference, in half precision


class ProbeLearner(Protocol):
    """What the gate needs of the learner: the log-probs of the branches (completions) of trees."""

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]: ...


class ProbePool(Protocol):
    """What the gate needs of the rollout workers (see rollouts.pool.Pool)."""

    @property
    def names(self) -> list[str]: ...

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]: ...

    def remedy(self, name: str, version: int, path: str) -> None: ...


@dataclass(frozen=True)
class ParityReport:
    """Absolute differences between the engine's and the learner's log-prob of a token, over all
    probes of all workers. `text_max` and `image_max` are the maxima over probes without and with
    images; `worst` names the worker and probe of the largest.

    >>> report = ParityReport(maximum=3e-6, mean=4e-7, text_max=1e-6, image_max=3e-6, num_tokens=96)
    >>> report.metrics
    {'parity/max': 3e-06, 'parity/mean': 4e-07}
    """

    maximum: float
    mean: float
    text_max: float
    image_max: float
    num_tokens: int
    worst: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics parity/max and parity/mean."""
        return {"parity/max": self.maximum, "parity/mean": self.mean}


class ParityGate:
    """Compares engines and learner on fixed probes.

        gate = ParityGate(choose_probes(prompts), renderer.prompt_ids, distribution)
        gate.check(learner, pool, version=0)                    # at the start
        published = transport.publish(1)
        report = gate.check(learner, pool, version=1, path=published.path)
        report.metrics                                          # {"parity/max": ..., ...}

    `prompt_ids` is the learner's own tokenisation of a prompt, with images expanded.
    `distribution` is the one that training samples from (temperature and banned ids); the learner
    computes its log-probs under the same one.

    In float32 the largest difference may be 1e-4. In half precision single tokens differ by more
    although nothing is wrong, so there the mean difference may be 0.02. `tolerance` replaces
    either figure. `remedies` are the engine's own, from the smallest to the largest.
    Raises: ConfigError if there are fewer than 8 probes, or if they are greedy.
    """

    def __init__(
        self,
        probes: Sequence[Sample],
        prompt_ids: Callable[[Sample], tuple[int, ...]],
        distribution: SamplingDistribution,
        *,
        dtype: str = "float32",
        tolerance: float | None = None,
        image_token_id: int | None = None,
        max_new_tokens: int = 8,
        seed: int = 0,
        remedies: Sequence[Remedy] = (),
    ) -> None:
        if len(probes) < MIN_PROBES:
            raise ConfigError(f"{len(probes)} parity probes", expected=f"{MIN_PROBES} or more")
        if distribution.temperature <= 0:
            raise ConfigError("the parity gate needs sampled answers", expected="temperature > 0")
        self.probes, self._prompt_ids, self.distribution = tuple(probes), prompt_ids, distribution
        self._by_max = dtype in TOLERANCE
        self.tolerance = TOLERANCE.get(dtype, MEAN_TOLERANCE) if tolerance is None else tolerance
        self._image_token_id, self._max_new_tokens = image_token_id, max_new_tokens
        self._seed = seed
        self._remedies = (*remedies, PUBLISH)

    def check(
        self, learner: ProbeLearner, pool: ProbePool, *, version: int, path: str = ""
    ) -> ParityReport:
        """Samples the probes from every worker and compares. `path` is the published file, "" at
        the start and if the weights did not pass through a file.

        Raises: ParityError with the likely cause. The run has to stop then.
        """
        rollouts = self._sample(pool, version)
        self._compare_prompts(rollouts, pool.names)
        report = self._compare(learner, rollouts, pool.names, self.distribution)
        if self._holds(report):
            return report
        raise self._diagnose(learner, pool, report, rollouts, version, path)

    def _sample(self, pool: ProbePool, version: int) -> list[list[Rollout]]:
        """Samples every probe twice from every worker: the second completion reads its prompt from
        the prefix cache, which is compared in this way too."""
        sampling = Sampling(
            n=2,
            temperature=self.distribution.temperature,
            max_new_tokens=self._max_new_tokens,
            seed=self._seed,
            step=version,
        )
        return [pool.sample_on(i, self.probes, sampling) for i in range(len(pool.names))]

    def _compare_prompts(self, rollouts: Sequence[Sequence[Rollout]], names: list[str]) -> None:
        for name, of_worker in zip(names, rollouts, strict=True):
            for rollout in of_worker:
                ours = tuple(self._prompt_ids(rollout.sample))
                if ours != rollout.prompt_token_ids:
                    raise _prompt_error(
                        name, rollout.sample.uid, ours, rollout.prompt_token_ids,
                        self._image_token_id,
                    )  # fmt: skip

    def _compare(
        self,
        learner: ProbeLearner,
        rollouts: Sequence[Sequence[Rollout]],
        names: Sequence[str],
        distribution: SamplingDistribution,
    ) -> ParityReport:
        trees = [rollout_tree(rollout) for of_worker in rollouts for rollout in of_worker]
        # Workers that agree gave the same tokens: each tree runs once.
        unique = list(dict.fromkeys(map(_tokens_only, trees)))
        found = dict(zip(unique, learner.logprobs(unique, distribution), strict=True))
        differences: dict[bool, list[float]] = {True: [0.0], False: [0.0]}
        worst, where = 0.0, ""
        for index, tree in enumerate(trees):
            for branch, logps in zip(tree.branches, found[_tokens_only(tree)], strict=True):
                gaps = list(_gaps(branch.behavior_logps or (), logps))
                differences[bool(tree.images)] += gaps
                if max(gaps) >= worst:
                    worst = max(gaps)
                    where = f"{names[index // len(self.probes)]}, probe {tree.uid}"
        gaps = differences[True][1:] + differences[False][1:]
        return ParityReport(
            maximum=max(gaps),
            mean=fmean(gaps),
            text_max=max(differences[False]),
            image_max=max(differences[True]),
            num_tokens=len(gaps),
            worst=where,
        )

    def _holds(self, report: ParityReport) -> bool:
        # Written so that a NaN fails.
        return (report.maximum if self._by_max else report.mean) <= self.tolerance

    def _diagnose(
        self,
        learner: ProbeLearner,
        pool: ProbePool,
        report: ParityReport,
        rollouts: Sequence[Sequence[Rollout]],
        version: int,
        path: str,
    ) -> ParityError:
        """Changes one thing at a time; the first change that helps names the cause."""
        for distribution, cause, do in self._wrong_distributions():
            if self._holds(self._compare(learner, rollouts, pool.names, distribution)):
                return self._error(report, version, cause, do)
        for remedy in self._remedies:
            if remedy is PUBLISH and not path:
                continue
            pool.remedy(remedy.name, version, path)
            again = self._sample(pool, version)
            if self._holds(self._compare(learner, again, pool.names, self.distribution)):
                return self._error(report, version, remedy.cause, remedy.do)
        if report.text_max <= self.tolerance < report.image_max:
            cause = "only the probes with images differ, and no remedy helped: the two sides see"
            cause += " other pixels or encode them differently"
            do = "compare max_pixels and the image processor's files on both sides"
        else:
            cause = "probes without images differ too, and no remedy helped: weights, dtype,"
            cause += " banned ids or attention differ"
            do = "compare dtype and banned ids of both sides, and the weights file with the model"
        return self._error(report, version, cause, do)

    def _wrong_distributions(self) -> Iterator[tuple[SamplingDistribution, str, str]]:
        """Distributions that a misconfigured engine might have sampled from, each with the cause
        and what to do."""
        temperature, banned = self.distribution.temperature, self.distribution.banned_ids
        do = "the engine needs logprobs_mode=processed_logprobs, and both sides one temperature"
        if temperature != 1.0:
            wrong = "the engine's log-probs are at temperature 1"
            yield SamplingDistribution(temperature=1.0, banned_ids=banned), wrong, do
            yield SamplingDistribution(), f"{wrong}, without the ban", do
        if banned:
            cause = "the engine does not ban the placeholder ids that the learner masks"
            do = "give engine and learner the same banned ids"
            yield SamplingDistribution(temperature=temperature), cause, do

    def _error(self, report: ParityReport, version: int, cause: str, do: str) -> ParityError:
        measured = f"max {report.maximum:.2g}" if self._by_max else f"mean {report.mean:.2g}"
        error = ParityError(
            f"engine and learner differ in log-probs: {measured} over {report.num_tokens} sampled"
            f" tokens (probes with images {report.image_max:.2g}, without {report.text_max:.2g})."
            f" Likely cause: {cause}",
            where=f"parity gate, version {version}, {report.worst}",
            expected=f"at most {self.tolerance:g}",
            do=do,
        )
        error.__dict__["report"] = report
        return error


def choose_probes(samples: Sequence[Sample], *, has_vision: bool = True) -> list[Sample]:
    """Eight probes: six prompts with images, from the largest image to the smallest, and two of
    them again without their images. A text-only model gets eight prompts.

    Differences by image size show a wrong processor; probes without images show whether images are
    the cause at all. If there are too few samples, they are used several times, each time under
    another uid and so with other seeds. Raises: ConfigError if there is no sample.
    """
    pool = [s for s in samples if bool(s.images) == has_vision] or list(samples)
    if not pool:
        raise ConfigError(
            "no sample to make parity probes of",
            expected="at least one prompt",
            do="add a prompt to the data or a benchmark",
        )
    if not has_vision or not pool[0].images:
        return [_as_probe(pool[i % len(pool)], i) for i in range(MIN_PROBES)]
    ordered = sorted(pool[:256], key=_num_pixels, reverse=True)
    last = len(ordered) - 1
    chosen = [ordered[round(i * last / (MIN_IMAGE_PROBES - 1))] for i in range(MIN_IMAGE_PROBES)]
    probes = [_as_probe(sample, i) for i, sample in enumerate(chosen)]
    return [*probes, without_images(probes[0]), without_images(probes[-1])]


def without_images(sample: Sample) -> Sample:
    """The same question without its images."""
    messages = tuple(
        Message(m.role, tuple(part for part in m.parts if isinstance(part, Text)), m.loss)
        for m in sample.messages
    )
    return replace(sample, uid=f"{sample.uid}/text", messages=messages, images=())


def _as_probe(sample: Sample, index: int) -> Sample:
    return replace(sample, uid=f"probe-{index}/{sample.uid}")


def _num_pixels(sample: Sample) -> int:
    from rl.data.images import image_size

    sizes = [image_size(image) for image in sample.images]
    return max(width * height for width, height in sizes)


def _tokens_only(tree: Tree) -> Tree:
    return replace(tree, branches=tuple(replace(b, columns={}) for b in tree.branches))


def _gaps(engine: Sequence[float], learner: Sequence[float]) -> Iterator[float]:
    for ours, theirs in zip(engine, learner, strict=True):
        gap = abs(ours - theirs)
        yield gap if gap == gap else float("inf")  # a NaN is no agreement


def _prompt_error(
    worker: str,
    uid: str,
    ours: Sequence[int],
    theirs: Sequence[int],
    image_token_id: int | None,
) -> ParityError:
    """The error for a prompt that the two sides tokenise differently, with the likely cause."""
    images = [list(ids).count(image_token_id) if image_token_id is not None else 0
              for ids in (theirs, ours)]  # fmt: skip
    place = next(
        (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    if images[0] != images[1]:
        what = f"{images[0]} image tokens from the engine and {images[1]} from the learner"
        cause = "the two sides' image processors differ, most likely in max_pixels"
        do = "give both sides the same max_pixels (it is saved with the checkpoint)"
    elif theirs[1:] == ours or ours[1:] == theirs:
        what = f"{len(theirs)} tokens from the engine and {len(ours)} from the learner"
        cause = "one side adds a BOS to a template that writes its own"
        do = "tokenise rendered prompts with add_special_tokens=False"
    else:
        what = f"token {place} is {_at(theirs, place)} in the engine and {_at(ours, place)} in the"
        what += " learner"
        cause = "the two sides' chat templates or tokenizers differ"
        do = "compare tokenizer and chat template files of the two sides"
    return ParityError(
        f"engine and learner read the same prompt as different tokens: {what}."
        f" Likely cause: {cause}",
        where=f"parity gate, {worker}, probe {uid}",
        expected="equal token ids",
        do=do,
    )


def _at(ids: Sequence[int], place: int) -> str:
    return str(ids[place]) if place < len(ids) else "missing"
