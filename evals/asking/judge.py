"""Judges: a model that reads an answer and says what it is worth. Optional, pinned and cached; a
judge that fails is an error of ours, never a 0.

A benchmark whose rule needs one is `Judged`: it writes the judge's prompt from a response row, and
its `score` reads what the judge said (`judge_text`). Between the two stands `judge_rows`, so that
scoring stays a pure function of stored rows.
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
from evals.scoring.samples import answer_rows
from rl.core import Message, Sample, Sampling, StreamingSampler, Text
from rl.errors import DataError

Row = Mapping[str, Any]

# What a judged response row has more: the text that the judge wrote, or why there is none.
JUDGEMENT, JUDGE_ERROR = "judgement", "judge_error"
_STEP_OF_TEMPERATURE = 0.5


@dataclass(frozen=True)
class JudgeIdentity:
    """Which judge: `revision` pins a local model by its weights' fingerprint; an endpoint, which
    shows no weights, by its URL and whatever version its model name bears.
    """

    model: str
    revision: str
    backend: str = ""
    max_new_tokens: int = 256
    extra: Row = field(default_factory=dict)  # what else every request to an endpoint says

    def facts(self) -> dict[str, Any]:
        """As the result and the judgements' keys hold it; an empty `extra` is left out."""
        return {key: value for key, value in asdict(self).items() if value != {}}


@dataclass(frozen=True)
class Judgement:
    """What the judge wrote; `text` is None exactly when the call failed, and `error` says why."""

    text: str | None
    error: str = ""


class Judge(Protocol):
    """Answers prompts, one judgement each, in the order given. Never raises for a single prompt.

    Attempt 0 is greedy; a later one (the first could not be read) is drawn at a temperature of 0.5
    times the attempt, so that it can come out otherwise.
    """

    @property
    def identity(self) -> JudgeIdentity: ...

    def ask(self, prompts: Sequence[str], attempt: int = 0) -> list[Judgement]: ...


@runtime_checkable
class Judged(Protocol):
    """What a benchmark has besides when a judge reads its answers.

    `judge_template` is the text that prompts are written from: its hash stands in the result.
    """

    judge_template: ClassVar[str]
    judge_attempts: ClassVar[int]

    def judge_prompt(self, row: Row) -> str | None:
        """The judge's prompt for this row; None where the rule needs no judge."""
        ...

    def is_judgement(self, text: str) -> bool:
        """Whether the rule can read what the judge wrote."""
        ...


def judge_rows(rows: Sequence[Row], benchmark: Judged, judge: Judge) -> list[dict[str, Any]]:
    """Copies of the rows, those that need it with `judgement` or with `judge_error`.

    A judgement that the rule cannot read is asked for again, up to `judge_attempts` times; where
    none can be read the last text stands, and the rule says what it makes of it. Rows that are
    errors already are left as they are.
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
    open_ = list(prompts)
    for attempt in range(max(1, benchmark.judge_attempts)):
        answers = judge.ask([prompts[number] for number in open_], attempt) if open_ else []
        unread = []
        for number, answer in zip(open_, answers, strict=True):
            if answer.text is None:
                if JUDGEMENT not in judged[number]:
                    judged[number][JUDGE_ERROR] = answer.error
                continue
            judged[number][JUDGEMENT] = answer.text
            if not benchmark.is_judgement(answer.text):
                unread.append(number)
        open_ = unread
    return judged


def failure(row: Row) -> str:
    """Why our side failed at this answer, or "": its error, or its judge's (of several answers, the
    first's that has one).
    """
    if error := row.get("error"):
        return str(error)
    for answer in (row, *(row.get("samples") or ())):
        if error := answer.get(JUDGE_ERROR):
            return f"{JUDGE_ERROR}: {error}"
    return ""


def judge_text(row: Row) -> str | None:
    """What the judge wrote of this row; None where its call failed, which is an error of ours.

    Raises: DataError for a row that no judge has seen.
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
    """What a result records of its judge: model, revision, backend, and the prompt's hash."""
    template = hashlib.sha256(benchmark.judge_template.encode()).hexdigest()[:16]
    return {**judge.identity.facts(), "prompt_hash": template}


def judge_folder(folder: Path, benchmark: Judged, judge: Judge) -> None:
    """Has a judge read the answers of an evaluation's folder: `responses.jsonl` gets what it wrote,
    the header who it was. Raises: EvalError where there are no answers.
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
    """A judge over any sampler: a local model on its own workers, or an endpoint."""

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
        found: dict[str, Judgement] = {}
        sampling = Sampling(
            temperature=attempt * _STEP_OF_TEMPERATURE,
            max_new_tokens=self._identity.max_new_tokens,
            seed=attempt,
        )
        samples = [_sample(uid, prompts[numbers[0]]) for uid, numbers in places.items()]

        def refused(sample: Sample, why: str) -> None:
            found[sample.uid] = Judgement(None, why)

        for rollout in self._sampler.sample_stream(samples, sampling, on_error=refused):
            (completion,) = rollout.completions
            found[rollout.sample.uid] = (
                Judgement(None, "the engine aborted the request")
                if completion.finish_reason == "abort"
                else Judgement(completion.text)
            )
        missing = Judgement(None, "the judge gave no answer")
        judgements = [missing] * len(prompts)
        for uid, numbers in places.items():
            for number in numbers:
                judgements[number] = found.get(uid, missing)
        return judgements


class CachedJudge:
    """A judge whose judgements are kept in one JSONL file, by judge, prompt and attempt.

    Failures are not kept: they are asked again. Safe after kill -9: a torn last line is no line.
    """

    def __init__(self, judge: Judge, file: Path) -> None:
        self._judge, self._file = judge, file
        self._known: dict[str, str] = {}
        if file.exists():
            for line in file.read_bytes().decode("utf-8", errors="replace").split("\n"):
                self._take(line)

    @property
    def identity(self) -> JudgeIdentity:
        return self._judge.identity

    def ask(self, prompts: Sequence[str], attempt: int = 0) -> list[Judgement]:
        """One judgement a prompt; only unknown ones reach the judge."""
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

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            return
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            self._known[str(row.get("key"))] = row["text"]

    def _append(self, lines: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            # Behind a torn line the first new one would be lost with it.
            file.write((b"\n" if file.tell() else b"") + lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _sample(uid: str, prompt: str) -> Sample:
    return Sample(uid, (Message("user", (Text(prompt),)),))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
