"""Judges: pinned, cached, asked again where they cannot be read; their failures are errors."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from evals.asking.judge import (
    CachedJudge,
    Judged,
    JudgeIdentity,
    SamplerJudge,
    judge_facts,
    judge_folder,
    judge_rows,
    judge_text,
)
from evals.asking.responses import read_responses, write_json, write_rows
from rl.core import Completion, Rollout, Sample, Sampling
from rl.errors import DataError

IDENTITY = JudgeIdentity("judge-7b", "0123456789abcdef", "vllm 0.32.0")


class Speaks:
    """A sampler that answers a prompt by a function of (prompt, temperature); counts prompts."""

    def __init__(self, answer: Callable[[str, float], str | None]) -> None:
        self.answer, self.asked = answer, []

    def sample_stream(
        self, samples: Iterable[Sample], sampling: Sampling, *, on_error=None
    ) -> Iterator[Rollout]:
        for sample in reversed(list(samples)):
            prompt = sample.messages[0].text
            self.asked.append((prompt, sampling.temperature))
            text = self.answer(prompt, sampling.temperature)
            if text is None:
                on_error(sample, "time-out after 5 tries")
                continue
            yield Rollout(sample, (1,), (Completion((1,), (0.0,), text, "stop"),))


class Graded:
    """A rule that reads a number between 0 and 1 from the judge."""

    judge_template: ClassVar[str] = "How right is {response}?"
    judge_attempts: ClassVar[int] = 3

    def judge_prompt(self, row) -> str | None:
        return None if row.get("easy") else f"How right is {row['response']}?"

    def is_judgement(self, text: str) -> bool:
        return text.replace(".", "").isdigit()


def rows() -> list[dict]:
    return [
        {"sample_id": "a", "response": "red"},
        {"sample_id": "b", "response": "blue", "easy": True},
        {"sample_id": "c", "response": None, "error": "the engine aborted the request"},
        {"sample_id": "d", "response": "red"},
        {"sample_id": "e", "response": "green"},
    ]


def test_rows_get_judgements_and_are_not_changed():
    given = rows()
    before = copy.deepcopy(given)
    speaks = Speaks(lambda prompt, temperature: "1.0" if "red" in prompt else None)
    judged = judge_rows(given, Graded(), SamplerJudge(speaks, IDENTITY))
    assert given == before
    assert [row.get("judgement") for row in judged] == ["1.0", None, None, "1.0", None]
    assert [row.get("judge_error") for row in judged] == [None] * 4 + ["time-out after 5 tries"]
    assert sorted(speaks.asked) == [("How right is green?", 0.0), ("How right is red?", 0.0)]
    assert judge_text(judged[0]) == "1.0"
    assert judge_text(judged[4]) is None
    with pytest.raises(DataError, match="sample b: no judge has read this answer"):
        judge_text(judged[1])


def test_an_unreadable_judgement_is_asked_again_warmer():
    speaks = Speaks(lambda prompt, temperature: "0.5" if temperature == 1.0 else "I think")
    (judged,) = judge_rows(rows()[:1], Graded(), SamplerJudge(speaks, IDENTITY))
    assert judged["judgement"] == "0.5"
    assert [temperature for _, temperature in speaks.asked] == [0.0, 0.5, 1.0]
    never = Speaks(lambda prompt, temperature: "I think")
    (judged,) = judge_rows(rows()[:1], Graded(), SamplerJudge(never, IDENTITY))
    assert (judged["judgement"], len(never.asked)) == ("I think", 3)


def test_judgements_are_kept_by_judge_prompt_and_attempt_but_failures_are_not(tmp_path: Path):
    file = tmp_path / "judge.jsonl"

    def asked(answer, identity=IDENTITY) -> tuple[int, list]:
        speaks = Speaks(answer)
        judge = CachedJudge(SamplerJudge(speaks, identity), file)
        judged = judge_rows(rows(), Graded(), judge)
        return len(speaks.asked), [row.get("judgement") for row in judged]

    fails = lambda prompt, temperature: "1" if "red" in prompt else None  # noqa: E731
    assert asked(fails) == (2, ["1", None, None, "1", None])
    assert asked(lambda prompt, temperature: "0") == (1, ["1", None, None, "1", "0"])
    assert asked(fails)[0] == 0
    other = JudgeIdentity("judge-7b", "fedcba9876543210", "vllm 0.32.0")
    assert asked(lambda prompt, temperature: "0", other) == (2, ["0", None, None, "0", "0"])
    # Another effort is another judge; none at all is the judge that was.
    hard = replace(IDENTITY, extra={"reasoning_effort": "high"})
    assert asked(lambda prompt, temperature: "1", hard) == (2, ["1", None, None, "1", "1"])
    assert asked(fails, replace(IDENTITY, extra={}))[0] == 0
    # A line that a crash tore is asked again, and what follows it is kept.
    lines = file.read_bytes().splitlines(keepends=True)
    for torn in (20, len(lines[0]) - 1):  # in the middle of the line, just before its newline
        file.write_bytes(lines[0][:torn])
        num_kept = int(torn > 20)
        assert asked(lambda prompt, temperature: "1")[0] == 2 - num_kept
        assert asked(fails)[0] == 0


def test_the_result_names_the_judge_and_its_prompt():
    assert isinstance(Graded(), Judged)
    facts = judge_facts(Graded(), SamplerJudge(Speaks(lambda *_: ""), IDENTITY))
    assert json.loads(json.dumps(facts)) == {
        "model": "judge-7b",
        "revision": "0123456789abcdef",
        "backend": "vllm 0.32.0",
        "max_new_tokens": 256,
        "prompt_hash": facts["prompt_hash"],
    }

    class Other(Graded):
        judge_template: ClassVar[str] = "How wrong is {response}?"

    assert judge_facts(Other(), SamplerJudge(Speaks(lambda *_: ""), IDENTITY)) != facts


def test_the_answers_of_a_folder_are_judged_each_and_the_header_says_by_whom(tmp_path: Path):
    several = {"sample_id": "f", "samples": [{"response": "red"}, {"response": "green"}]}
    write_rows(tmp_path / "responses.jsonl", [*rows(), several])
    write_json(tmp_path / "responses.header.json", {"version": "1"})
    for answer in ("1", "0"):
        says = lambda prompt, _: answer if "red" in prompt else None  # noqa: B023, E731
        judge_folder(tmp_path, Graded(), SamplerJudge(Speaks(says), IDENTITY))
        header, judged = read_responses(tmp_path)
        assert header["judge"]["model"] == "judge-7b"
        assert [row.get("judgement") for row in judged] == [answer, None, None, answer, None, None]
        assert judged[5]["samples"] == [
            {"response": "red", "judgement": answer},
            {"response": "green", "judge_error": "time-out after 5 tries"},
        ]
