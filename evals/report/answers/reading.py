"""Reads the answers of every stage on one benchmark, once per report."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.data.items import cluster_id_of
from evals.report.answers.answer import Answer, Question
from evals.report.answers.content import Contents
from evals.report.answers.kinds import kinds
from evals.report.answers.wording import is_read_in_part, words
from evals.report.facts.stored import judge_of, stages_of
from evals.report.run import Run, read_lines

_SAID = 300  # characters of a statement that are kept
_SHA = re.compile(r"[0-9a-f]{16,64}")
# How a refusal begins. Some scorers mark refusals in `status`; this is for the others.
_REFUSAL = re.compile(
    r"\W*(?:(?:i['’]?m|i am|we are) (?:so |very |really )?(?:sorry|unable|not able|not comfortable)"
    r"|sorry\b|i (?:can(?:no|['’])?t|can not|won['’]t|will not|must decline)\b|unable to\b"
    r"|as an ai\b|抱歉|对不起|很抱歉|非常抱歉|我(?:无法|不能|不可以)|无法)",
    re.IGNORECASE,
)


def read_answers(run: Run, benchmark: str) -> list[Question]:
    """The questions of the part that is shown, with every stage's answer. Questions on which the
    stages differ come first; otherwise they are in a fixed order, by a hash of their ids. Raises:
    EvalError where a row has no cluster, by which the report's intervals resample.
    """
    stages = stages_of(run, benchmark)
    if not stages:
        return []
    part = stages[0].results[benchmark].shown
    contents = Contents(judge_of(run, benchmark))
    questions: dict[str, Question] = {}
    for column, stage in enumerate(stages):
        folder = run.root / "evals" / stage.name / benchmark
        flagged = stage.results[benchmark].contamination.flagged
        flags = {uid: flag.kinds for uid, flag in flagged.items()}
        for row, answer in _answers(folder, part, contents, stage.results[benchmark].profile):
            name = str(row.get("sample_id"))
            question = questions.get(name)
            if question is None:
                question = questions[name] = _question(name, row, len(stages))
            question.flags += [kind for kind in flags.get(name, []) if kind not in question.flags]
            question.answers[column] = answer
    found = sorted(questions.values(), key=_interest)
    if len({question.category for question in found}) == 1:
        for question, kind in zip(found, kinds([q.text for q in found]), strict=True):
            question.category = kind or question.category
    return found


def _answers(
    folder: Path, part: str, contents: Contents, profile: str
) -> Iterator[tuple[dict[str, Any], Answer]]:
    scores = {
        str(row.get("sample_id")): row
        for row in read_lines(folder / "scores.jsonl")
        if row.get("part") == part
    }
    for row in read_lines(folder / "responses.jsonl"):
        if row.get("part") == part:
            score = scores.get(str(row.get("sample_id")), {})
            yield row, _answer(row, score, contents, profile)


def _question(name: str, row: dict[str, Any], columns: int) -> Question:
    return Question(
        id=name,
        category=str(row.get("category") or ""),
        text=_text(row.get("question")),
        references=_counted(_list(row.get("references"))),
        images=[str(sha) for sha in _list(row.get("images")) if _SHA.fullmatch(str(sha))],
        answers=[None] * columns,
        options=[_text(option) for option in _list(row.get("options"))],
        gold=_most(_list(row.get("references"))),
        cluster=cluster_id_of(row),
    )


def _most(references: list[Any]) -> str:
    """The most frequent reference (the first among equally frequent ones)."""
    return Counter(map(_text, references)).most_common(1)[0][0] if references else ""


def _counted(references: list[Any]) -> list[str]:
    """The different references, each with its count where it is given more than once."""
    seen: dict[str, int] = {}
    for reference in references:
        text = _text(reference)
        seen[text] = seen.get(text, 0) + 1
    return [text if times == 1 else f"{text} ×{times}" for text, times in seen.items()][:12]


def _answer(row: dict[str, Any], score: dict[str, Any], contents: Contents, profile: str) -> Answer:
    parsed, value = score.get("parsed"), score.get("score")
    status = str(score.get("status") or ("error" if row.get("error") else ""))
    text = _said(row)
    tokens = row.get("num_tokens")
    is_cut = status == "truncated" or row.get("finish_reason") == "length"
    is_refused = status == "refused" or _REFUSAL.match(text) is not None
    worth = float(value) if isinstance(value, int | float) else None
    states = worth if is_refused else contents.of(row, worth, parsed, profile)
    return Answer(
        text=text,
        score=None if worth is None else round(worth, 4),
        status=status,
        parsed=None if parsed is None else _text(parsed)[:200],
        is_parsed=parsed not in (None, "", "other") and status != "unparsed",
        is_cut=is_cut or row.get("is_truncated") is True,
        is_refused=is_refused,
        tokens=tokens if isinstance(tokens, int) else None,
        error=_text(row["error"])[:400] if row.get("error") else None,
        content=None if states is None else round(states, 4),
        said=words(_text(parsed) if is_read_in_part(text, parsed) else text)[:_SAID],
    )


def _said(row: dict[str, Any]) -> str:
    """The response; where a question was answered several times, all of them, numbered."""
    several = [one for one in _list(row.get("samples")) if isinstance(one, dict)]
    if len(several) < 2:
        return _text(row.get("response"))
    said = [_text(one.get("response")) for one in several]
    return "\n\n".join(f"({n} of {len(said)}) {text}" for n, text in enumerate(said, start=1))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _interest(question: Question) -> tuple[int, str]:
    marks = {(a.score, a.flag) for a in question.answers if a is not None}
    order = hashlib.sha256(question.id.encode("utf-8", "replace")).hexdigest()
    return (0 if len(marks) > 1 else 1, order)
