"""Judges: a model reads an answer and writes what it is worth.

Few benchmarks need one (MM-Vet). Such a benchmark is `Judged`, and works in three steps:

    prompt = benchmark.judge_prompt(row)      # the benchmark writes the judge's prompt
    rows = judge_rows(rows, benchmark, judge) # the judge's text is stored in the row
    benchmark.score(row)                      # reads it with judge_text(row): no model here

The text is stored before anything is scored, so that scoring stays a pure function of stored rows.
A judge is pinned (the result names its model and revision) and cached (`CachedJudge`). A judge that
fails leaves an error, never a 0.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from evals.asking.responses import HEADER, RESPONSES, read_responses, write_json, write_rows
from evals.data.jsonl import json_rows, remove_torn_end
from evals.scoring.samples import answer_rows
from rl.core import Message, Sample, Sampling, StreamingSampler, Text
from rl.errors import DataError

Row = Mapping[str, Any]

# The two columns that judging adds: the text that the judge wrote, or why there is none.
JUDGEMENT, JUDGE_ERROR = "judgement", "judge_error"
# A text that the rule could not read is asked for again at a temperature higher by this much.
_TEMPERATURE_STEP = 0.5


@dataclass(frozen=True)
class JudgeIdentity:
    """Which model judges. Judgements of different identities are never compared.

    `revision` is the fingerprint of a local model's weights. An endpoint shows no weights: there it
    is the URL, and `model` should name a dated version.
    """

    model: str
    revision: str
    backend: str = ""
    max_new_tokens: int = 256
    extra: Row = field(default_factory=dict)  # further fields of every request to an endpoint

    def facts(self) -> dict[str, Any]:
        """The identity as results and cache keys hold it; an empty `extra` is left out."""
        return {key: value for key, value in asdict(self).items() if value != {}}


@dataclass(frozen=True)
class Judgement:
    """What the judge wrote. `text` is None exactly where the call failed, and `error` says why."""

    text: str | None
    error: str = ""


class Judge(Protocol):
    """Answers prompts: one judgement each, in the prompts' order. A prompt that fails gives a
    judgement with an error and raises nothing.

    `attempt` 0 is greedy. A later attempt follows a text that the rule could not read; it samples
    at a temperature of 0.5 times the attempt, since a greedy one would only repeat that text.
    """

    @property
    def identity(self) -> JudgeIdentity: ...

    def ask(self, prompts: Sequence[str], attempt: int = 0) -> list[Judgement]: ...


@runtime_checkable
class Judged(Protocol):
    """What a benchmark gives in addition where a judge reads its answers.

    `judge_template` is the text that prompts are written from; its hash is part of the result.
    `judge_attempts` is how often a text that cannot be read is asked for.
    """

    judge_template: ClassVar[str]
    judge_attempts: ClassVar[int]

    def judge_prompt(self, row: Row) -> str | None:
        """The judge's prompt for this row; None where the rule needs no judge for it."""
        ...

    def is_judgement(self, text: str) -> bool:
        """Whether the rule can read what the judge wrote."""
        ...


def judge_rows(rows: Sequence[Row], benchmark: Judged, judge: Judge) -> list[dict[str, Any]]:
    """Copies of the rows, with a `judgement` or a `judge_error` where the rule needs a judge.

    A text that the rule cannot read is asked for again, `judge_attempts` times in all. If none can
    be read, the last one is kept, and the rule decides what it is worth. Error rows are not judged.
    """
    judged = [
        {key: value for key, value in row.items() if key not in (JUDGEMENT, JUDGE_ERROR)}
        for row in rows
    ]
    prompts = {
        number: prompt
        for number, row in enumerate(judged)
        if not row.get("error") and (prompt := benchmark.judge_prompt(row))
    }
    unread = list(prompts)
    for attempt in range(max(1, benchmark.judge_attempts)):
        asked = unread
        answers = judge.ask([prompts[number] for number in asked], attempt) if asked else []
        unread = []
        for number, answer in zip(asked, answers, strict=True):
            if answer.text is None:
                # An earlier attempt's text is kept: the rule may still make something of it.
                if JUDGEMENT not in judged[number]:
                    judged[number][JUDGE_ERROR] = answer.error
                continue
            judged[number][JUDGEMENT] = answer.text
            if not benchmark.is_judgement(answer.text):
                unread.append(number)
    return judged


def failure(row: Row) -> str:
    """Why our side failed at this answer, or "": the answer's own error or its judge's. Of several
    answers, the first error.

    >>> failure({"response": "red", "judge_error": "time-out"})
    'judge_error: time-out'
    """
    if error := row.get("error"):
        return str(error)
    for answer in (row, *(row.get("samples") or ())):
        if error := answer.get(JUDGE_ERROR):
            return f"{JUDGE_ERROR}: {error}"
    return ""


def judge_text(row: Row) -> str | None:
    """What the judge wrote about this row; None where the call failed, which gives an error and no
    score.

    Raises: DataError for a row that no judge has read.
    """
    if row.get(JUDGE_ERROR):
        return None
    text = row.get(JUDGEMENT)
    if not isinstance(text, str):
        raise DataError(
            "no judge has read this answer",
            where=f"sample {row.get('sample_id', '?')}",
            expected=f"a `{JUDGEMENT}`",
            do="give the evaluation a `judge:`",
        )
    return text


def judge_facts(benchmark: Judged, judge: Judge) -> dict[str, Any]:
    """What a result says about its judge: model, revision, backend, and the prompt's hash."""
    template = hashlib.sha256(benchmark.judge_template.encode()).hexdigest()[:16]
    return {**judge.identity.facts(), "prompt_hash": template}


def judge_folder(folder: Path, benchmark: Judged, judge: Judge) -> None:
    """Judges the answers of an evaluation's folder: `responses.jsonl` gets the judge's texts, its
    header the judge's identity. Raises: NoRunError where there are no answers.
    """
    header, rows = read_responses(folder)
    places = [(row, answer) for row in rows for answer in (row.get("samples") or [row])]
    flat = [one for row in rows for one in answer_rows(row)]
    for (row, answer), judged in zip(places, judge_rows(flat, benchmark, judge), strict=True):
        for key in (JUDGEMENT, JUDGE_ERROR):
            for place in (row, answer):
                place.pop(key, None)
            if key in judged:
                answer[key] = judged[key]
    write_rows(folder / RESPONSES, rows)
    write_json(folder / HEADER, {**header, "judge": judge_facts(benchmark, judge)})


class SamplerJudge:
    """A judge that any sampler answers: a local model on its own workers, or an endpoint.

    judge = CachedJudge(SamplerJudge(sampler, identity), run / "judgements.jsonl")
    (judgement,) = judge.ask(["How correct is this answer? ..."])
    """

    def __init__(self, sampler: StreamingSampler, identity: JudgeIdentity) -> None:
        self._sampler, self._identity = sampler, identity

    @property
    def identity(self) -> JudgeIdentity:
        return self._identity

    def ask(self, prompts: Sequence[str], attempt: int = 0) -> list[Judgement]:
        """One judgement a prompt; equal prompts are asked once."""
        places: dict[str, list[int]] = {}
        for number, prompt in enumerate(prompts):
            places.setdefault(_digest([prompt]), []).append(number)
        by_uid: dict[str, Judgement] = {}
        sampling = Sampling(
            temperature=attempt * _TEMPERATURE_STEP,
            max_new_tokens=self._identity.max_new_tokens,
            seed=attempt,
        )
        samples = [_sample(uid, prompts[numbers[0]]) for uid, numbers in places.items()]

        def refused(sample: Sample, why: str) -> None:
            by_uid[sample.uid] = Judgement(None, why)

        for rollout in self._sampler.sample_stream(samples, sampling, on_error=refused):
            (completion,) = rollout.completions
            by_uid[rollout.sample.uid] = (
                Judgement(None, "the engine aborted the request")
                if completion.finish_reason == "abort"
                else Judgement(completion.text)
            )
        missing = Judgement(None, "the judge gave no answer")
        judgements = [missing] * len(prompts)
        for uid, numbers in places.items():
            for number in numbers:
                judgements[number] = by_uid.get(uid, missing)
        return judgements


class CachedJudge:
    """A judge whose judgements are kept in a JSONL file, by judge, prompt and attempt.

    Failures are not kept, so that they are asked again. A torn last line (the process was killed)
    is removed, and its prompt is asked again. Raises: DataError where another line is broken.
    """

    def __init__(self, judge: Judge, file: Path) -> None:
        self._judge, self._file = judge, file
        self._known: dict[str, str] = {}
        if file.exists():
            # Removed rather than skipped: what is appended next would otherwise join the torn line.
            rows = json_rows(file, on_torn=lambda _: remove_torn_end(file))
            self._known = {str(row["key"]): row["text"] for _, row in rows}

    @property
    def identity(self) -> JudgeIdentity:
        return self._judge.identity

    def ask(self, prompts: Sequence[str], attempt: int = 0) -> list[Judgement]:
        """One judgement a prompt; only prompts without a kept judgement reach the judge."""
        keys = [_digest([self.identity.facts(), prompt, attempt]) for prompt in prompts]
        unknown = {k: p for k, p in zip(keys, prompts, strict=True) if k not in self._known}
        failed: dict[str, Judgement] = {}
        if unknown:
            answers = self._judge.ask(list(unknown.values()), attempt)
            lines = []
            for key, answer in zip(unknown, answers, strict=True):
                if answer.text is None:
                    failed[key] = answer
                else:
                    self._known[key] = answer.text
                    lines.append(json.dumps({"key": key, "text": answer.text}) + "\n")
            self._append("".join(lines))
        return [failed[key] if key in failed else Judgement(self._known[key]) for key in keys]

    def _append(self, lines: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b") as file:
            # A write that was cut off just before its newline left a whole line without an end.
            if file.tell():
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else "\n" + lines
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _sample(uid: str, prompt: str) -> Sample:
    return Sample(uid, (Message("user", (Text(prompt),)),))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
