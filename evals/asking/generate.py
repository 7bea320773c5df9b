"""Asks a model all questions of a benchmark and writes the answers to `responses.jsonl`.

All questions go through one queue to the engines (`StreamingSampler`), which take new ones while
others are still being answered. An answer is appended to the file as it comes, so a run that is
killed resumes where it was. Every answer has a key, a hash of all that decides it: weights, chat
template, message, image bytes, pixel limit, generation settings, engine. A stored answer is used
again only under the same key. Nothing is scored here (`evals.scoring`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.asking.judge import failure
from evals.asking.responses import (
    HEADER,
    RESPONSES,
    Journal,
    answered_before,
    digest,
    read_responses,
    write_json,
    write_rows,
)
from evals.base import Benchmark
from evals.data.items import Item
from rl.core import Completion, Image, Message, Rollout, Sample, Sampling, StreamingSampler
from rl.data.ahead import ImageAhead
from rl.errors import EvalError, NoRunError

Progress = Callable[[int, int], None]  # gets (questions answered, questions in all)

_MAX_TRIES = 2  # how often a question is asked if the engine aborts the request
_THINK_START, _THINK_END = "<think>", "</think>"


@dataclass(frozen=True)
class EvalSettings:
    """Everything besides weights and questions that decides an answer. All of it is part of the
    key.

    `backend` names the engine and its version, `files` is a fingerprint of the model's other files
    (config, tokenizer, processor), and `extra` holds further fields of every request to an endpoint
    (reasoning_effort, top_p, stop).

        EvalSettings(max_new_tokens=32, max_pixels=512 * 512, backend="vllm 0.11", dtype="bfloat16")
    """

    max_new_tokens: int
    max_pixels: int | None = None
    backend: str = ""
    dtype: str = ""
    chat_template: str = ""
    temperature: float = 0.0
    seed: int = 0
    n: int = 1  # answers a question
    files: str = ""
    images: bool = True  # False: the text-only probe
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Images:
    """What an evaluation does with images.

    thumbnails: the folder for small copies, which the report shows; by default `images` two folders
        above the evaluation's, which all stages of a run share.
    ahead: the processes that decode images while the engines work; by default nothing is decoded
        ahead.
    """

    thumbnails: Path | None = None
    ahead: ImageAhead | None = None


def evaluate(
    benchmark: Benchmark,
    items: Sequence[Item],
    sampler: StreamingSampler,
    folder: Path,
    *,
    settings: EvalSettings,
    weights: str,
    progress: Progress | None = None,
    images: Images = Images(),
) -> None:
    """Has every item answered, and leaves `folder/responses.jsonl` in the items' order.

    `weights` is the fingerprint of the weights that answer. Items that have an answer under the
    same key are not asked again; items that failed are. A question that cannot be asked or answered
    (its image does not decode, the engine refuses its prompt) becomes an error row.

    `images` says where thumbnails go and who decodes; `progress` is called after each answer.

        evaluate(benchmark, benchmark.load("data/mme"), sampler, Path("runs/a/evals/sft/mme"),
                 settings=settings, weights=fingerprint)
        write_result(Path("runs/a/evals/sft/mme"), benchmark,
                     ResultOptions(stage="sft", gate=GateConfig()))

    Raises: EvalError where the sampler answers too few questions, or one that it was not asked;
    otherwise what the sampler raises. What was answered until then is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = _header(benchmark, items, settings, weights)
    keys = {item.sample.uid: _item_key(header, item) for item in items}
    # Without a fingerprint nobody knows which weights gave the old answers.
    answered = answered_before(folder / RESPONSES, keys) if weights else {}
    by_uid = {item.sample.uid: item for item in items}
    for uid in answered:
        answered[uid] |= _facts(by_uid[uid])  # the question's category or references may be new
    write_json(folder / HEADER, header)
    write_rows(folder / RESPONSES, [answered[uid] for uid in by_uid if uid in answered])

    queue = _Queue(
        sampler,
        Sampling(
            n=settings.n,
            temperature=settings.temperature,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
            logps=False,
        ),
        images.ahead or ImageAhead(processes=0),
        images.thumbnails or folder.parents[1] / "images",
    )
    todo = [item for item in items if item.sample.uid not in answered]
    with Journal(folder / RESPONSES) as journal:
        for uid, answer in queue.answers(todo):
            row = {**_facts(by_uid[uid]), **answer, "key": keys[uid]}
            journal.append(row)
            answered[uid] = row
            if progress is not None:
                progress(len(answered), len(items))
    missing = [uid for uid in by_uid if uid not in answered]
    if missing:
        raise EvalError(
            f"the sampler gave no answer for {len(missing):,} questions, {missing[0]} first",
            where=str(folder),
            do="continue with --resume",
        )
    # In the items' order, whatever came first: MME's rule pairs two questions that follow each
    # other.
    write_rows(folder / RESPONSES, [answered[uid] for uid in by_uid])


def is_current(
    folder: Path, benchmark: Benchmark, items: Sequence[Item], settings: EvalSettings, weights: str
) -> bool:
    """Whether nothing is left to ask: the folder holds an answer to each of these questions, by
    these weights and settings, and neither an answer nor its judge failed.
    """
    try:
        header, rows = read_responses(folder, on_torn=lambda _: None)  # one row fewer: not current
    except (EvalError, NoRunError, ValueError):
        return False
    ours = _header(benchmark, items, settings, weights)
    is_same = all(header.get(key) == value for key, value in ours.items())
    return is_same and len(rows) == len(items) and not any(map(failure, rows))


def split_reasoning(text: str) -> tuple[str, str, bool]:
    """Splits what a thinking model wrote: (reasoning, answer, is_closed).

    A chat template may have written the opening tag already, so a lone closing tag ends the
    reasoning too. A block that was not closed (the length limit cut it off) leaves no answer.

    >>> split_reasoning("<think>a cat</think>Yes")
    ('a cat', 'Yes', True)
    >>> split_reasoning("<think>a c")
    ('a c', '', False)
    >>> split_reasoning("Yes")
    ('', 'Yes', True)
    """
    before, closed, after = text.rpartition(_THINK_END)
    if closed:
        return before.replace(_THINK_START, "").strip(), after.lstrip(), True
    if text.lstrip().startswith(_THINK_START):
        return text.lstrip().removeprefix(_THINK_START).strip(), "", False
    return "", text, True


class _Clock:
    """How long each answer took, and which share of the time it caused.

    Many questions are answered side by side. At every moment the passing time is divided equally
    among those under way, so the shares of all answers add up to the time that the benchmark took.
    With 2 questions under way for 10 s, each has a latency of 10 s and a share of 5 s.

    It is computed without a loop over the questions: `_shared` is the share that a question under
    way since the start would have by now, so a question's own share is what was added to it since
    the question was asked.
    """

    def __init__(self) -> None:
        self._now = time.monotonic()
        self._shared = 0.0
        self._started: dict[str, tuple[float, float]] = {}  # uid -> (time, _shared) when asked

    def begin(self, uid: str) -> None:
        """Notes that a question is asked now."""
        self._pass()
        self._started[uid] = (self._now, self._shared)

    def end(self, uid: str) -> dict[str, float]:
        """`seconds`, the answer's share of the time, and `latency_s`, from asked to answered."""
        self._pass()
        started, shared = self._started.pop(uid)
        seconds, latency_s = self._shared - shared, self._now - started
        return {"seconds": round(seconds, 6), "latency_s": round(latency_s, 4)}

    def is_under_way(self, uid: str) -> bool:
        return uid in self._started

    def _pass(self) -> None:
        now = time.monotonic()
        self._shared += (now - self._now) / max(1, len(self._started))
        self._now = now


class _Queue:
    """Feeds samples to the engines and yields (uid, the answer's part of its row) as they come."""

    def __init__(
        self, sampler: StreamingSampler, sampling: Sampling, ahead: ImageAhead, thumbnails: Path
    ) -> None:
        self._sampler, self._sampling = sampler, sampling
        self._ahead, self._thumbnails = ahead, thumbnails
        self._clock = _Clock()
        self._failed: list[tuple[str, str]] = []

    def answers(self, items: Sequence[Item]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The answer to every item, in any order. A request that the engine aborts is sent once
        more; aborted twice, it is an error row.
        """
        samples = [item.sample for item in items if not item.problem]
        for item in items:
            if item.problem:
                yield item.sample.uid, _error(item.problem)
        for _ in range(_MAX_TRIES):
            aborted = []
            stream = self._sampler.sample_stream(
                self._ready(samples), self._sampling, on_error=self._refused
            )
            for rollout in stream:
                uid = rollout.sample.uid
                if not self._clock.is_under_way(uid):
                    raise EvalError(
                        f"the sampler answered {uid!r} unasked",
                        where="evaluate",
                        expected="an answer to a question under way, once",
                        do="fix the sampler",
                    )
                yield from self._failures()
                took = self._clock.end(uid)
                if any(c.finish_reason == "abort" for c in rollout.completions):
                    aborted.append(uid)
                else:
                    yield uid, {**_response(rollout), **took}
            yield from self._failures()
            samples = [sample for sample in samples if sample.uid in aborted]
            if not samples:
                return
        for sample in samples:
            yield sample.uid, _error("the engine aborted the request")

    def _ready(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples as the sampler pulls them: images decoded, the clock started."""
        for sample in self._ahead.samples(
            samples, thumbnails=self._thumbnails, on_error=self._undecodable
        ):
            self._clock.begin(sample.uid)
            yield sample

    # Both callbacks run while the sampler pulls samples. They only note the failure, and `answers`
    # yields it: a generator cannot yield from inside a callback.
    def _undecodable(self, sample: Sample, why: str) -> None:
        self._failed.append((sample.uid, f"image cannot be decoded: {why[:300]}"))

    def _refused(self, sample: Sample, why: str) -> None:
        self._clock.end(sample.uid)
        self._failed.append((sample.uid, why))

    def _failures(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for uid, why in self._failed:
            yield uid, _error(why)
        self._failed.clear()


def _error(why: str) -> dict[str, Any]:
    return {"response": None, "error": why}


def _response(rollout: Rollout) -> dict[str, Any]:
    """The answer's part of its row. Of several answers the first one's, and all under `samples`."""
    each = [_completion(completion) for completion in rollout.completions]
    row = {**each[0], "prompt_tokens": rollout.num_prompt_tokens}
    if len(each) > 1:
        row["num_tokens"] = sum(one["num_tokens"] for one in each)
        row["samples"] = each
    return row


def _completion(completion: Completion) -> dict[str, Any]:
    reasoning, text, is_closed = split_reasoning(completion.text)
    row: dict[str, Any] = {
        "response": text,
        "finish_reason": completion.finish_reason,
        "num_tokens": completion.num_tokens,
    }
    if reasoning or not is_closed:
        row["reasoning"] = reasoning
    if not is_closed:
        row["is_truncated"] = True
    return row


def _facts(item: Item) -> dict[str, Any]:
    """The question's part of its row."""
    return {
        "sample_id": item.sample.uid,
        "cluster_id": item.cluster_id,
        "part": item.part,
        "category": item.category,
        "question": item.question,
        "references": list(item.sample.references),
        "prompt_hash": digest(_messages(item)),
        "images": _hashes(item),
        **item.columns,
    }


def _header(
    benchmark: Benchmark, items: Sequence[Item], settings: EvalSettings, weights: str
) -> dict[str, Any]:
    """What all answers of the folder have in common: benchmark, weights, settings, and hashes over
    all prompts and all questions.
    """
    prompts = sorted({json.dumps(_messages(item)) for item in items})
    data = [
        [item.sample.uid, item.part, item.question, *item.sample.references, *_hashes(item)]
        for item in items
    ]
    fixed = asdict(settings) | {"chat_template": digest(settings.chat_template)}
    if not settings.extra:  # answers from before `extra` was a setting keep their key
        del fixed["extra"]
    return {
        "schema": 1,
        "benchmark": benchmark.id,
        "version": benchmark.version,
        "weights": weights,
        "settings": {
            "prompt_hash": digest(prompts),
            "data_fingerprint": digest(data),
            "data_path": ", ".join(dict.fromkeys(item.origin for item in items)),
            **fixed,
        },
        "key": digest([weights, fixed]),
    }


def _item_key(header: Mapping[str, Any], item: Item) -> str:
    """The hash of everything that decides this question's answer."""
    return digest([header["key"], _messages(item), _hashes(item)])


def _messages(item: Item) -> list[Any]:
    return [_plain_message(message) for message in item.sample.messages]


def _plain_message(message: Message) -> list[Any]:
    parts = [part.index if isinstance(part, Image) else part.text for part in message.parts]
    return [message.role, *parts]


def _hashes(item: Item) -> list[str]:
    return [image.sha256 for image in item.sample.images]
