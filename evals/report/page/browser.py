"""The data of the examples: scripts beside the page, in pieces, so that opening the page loads none
of them.

A data file is one call with one string literal that holds JSON: a browser that refuses to fetch
from disk still runs it, and nothing in it is code but the call.

    data/<benchmark>/index.js     what is filtered on, a column per stage; loaded with the examples
    data/<benchmark>/000.js       questions and answers, a few hundred; loaded where needed
    data/<benchmark>/000-long.js  the whole text of that piece's long answers; on demand
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evals.report.answers import groups, quoted
from evals.report.answers.answer import Answer, Question
from evals.report.answers.habits import habits
from evals.report.answers.kinds import OTHER, is_kind
from evals.report.answers.moves import as_dict, split
from evals.report.answers.reading import read_answers
from evals.report.answers.turned import as_lists, turned
from evals.report.facts.stored import files_of, judge_of, signature, stages_of
from evals.report.files import slug, write_script, write_text
from evals.report.run import Run, Stage

SCHEMA = 7
PIECE_QUESTIONS = 250
PIECE_CHARACTERS = 1_000_000
LONGEST_ANSWER = 2_000
LONGEST_QUESTION = 4_000


def write_browser(run: Run, benchmark: str, folder: Path) -> dict[str, Any] | None:
    """Writes a benchmark's data and images under `folder` (the report's) unless the answers
    did not change since the last report; returns what the page itself needs of them. None where
    nothing is scored.
    """
    stages = stages_of(run, benchmark)
    if not stages:
        return None
    home = folder / "data" / slug(benchmark)
    parents = [[stage.name, stage.parent] for stage in stages]
    rule = judge.version if (judge := judge_of(run, benchmark)) else None
    key = [SCHEMA, rule, signature(files_of(run, benchmark)), parents]
    kept = home / "summary.json"
    if kept.is_file():
        try:
            summary = json.loads(kept.read_text(encoding="utf-8"))
        except ValueError:
            summary = {}
        if summary.get("key") == key:
            return dict(summary)
    questions = read_answers(run, benchmark)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    images = link_images(run, questions, folder / "images")
    starts = _write_pieces(home, slug(benchmark), questions, images)
    index = _index(benchmark, stages, questions, starts)
    write_script(home / "index.js", f"{slug(benchmark)}/index", index)
    summary = {"key": key, "slug": slug(benchmark), **_summary(run, benchmark, stages, questions)}
    write_text(kept, json.dumps(summary, allow_nan=False))
    return summary


def _summary(
    run: Run, benchmark: str, stages: Sequence[Stage], questions: Sequence[Question]
) -> dict[str, Any]:
    found: dict[str, Any] = {"questions": len(questions)}
    found |= {"habits": {}, "splits": {}, "turned": {}, "quotes": {}, "tallies": {}}
    pairs = _pairs(stages)
    is_open = _is_open(questions)
    for column, stage in enumerate(stages):
        mine = habits(questions, column)
        found["habits"][stage.name] = asdict(mine) if mine else None
    intervals = groups.content_intervals(questions, list(pairs.values())) if is_open else {}
    for key, (now, before) in pairs.items():
        parts = split(questions, now, before)
        if parts is not None:
            parts = replace(parts, interval=intervals.get((now, before)))
        found["splits"][key] = as_dict(parts)
        found["turned"][key] = as_lists(turned(questions, now, before))
        found["tallies"][key] = groups.as_dicts(groups.tallies(questions, now, before))
        found["quotes"][key] = quoted.as_lists(quoted.quotes(questions, now, before))
    found["baselines"] = groups.baselines(questions)
    found["has_kinds"] = any(is_kind(question.category) for question in questions)
    if found["has_kinds"] or is_open:
        told_of = zip(stages, groups.shares(questions, len(stages)), strict=True)
        found["shares"] = {stage.name: groups.as_dicts(shares) for stage, shares in told_of}
    asked = run.root / "evals" / stages[0].name / benchmark / "responses.jsonl"
    shown = sum(len(question.images) for question in questions)
    found["images_a_question"] = shown / len(questions) if questions else 0.0
    found["has_answers"] = asked.is_file()
    return found


def _is_open(questions: Sequence[Question]) -> bool:
    """Whether the content of some answer is not its score."""
    return any(
        answer is not None and answer.score is not None and answer.states != answer.score
        for question in questions
        for answer in question.answers
    )


def _pairs(stages: Sequence[Stage]) -> dict[str, tuple[int, int]]:
    """The pairs of stages that are compared, as columns (now, before): with parent and with
    base.
    """
    names = [stage.name for stage in stages]
    base = "base" if "base" in names else None
    return {
        f"{stage.name}\n{other}": (column, names.index(other))
        for column, stage in enumerate(stages)
        for other in dict.fromkeys((stage.parent, base))
        if other is not None and other != stage.name and other in names
    }


def _index(
    benchmark: str, stages: Sequence[Stage], questions: Sequence[Question], starts: Sequence[int]
) -> dict[str, Any]:
    names = [stage.name for stage in stages]
    named = {question.category for question in questions}
    categories = sorted(named, key=lambda name: (name == OTHER, name))
    number = {name: at for at, name in enumerate(categories)}
    return {
        "benchmark": benchmark,
        "stages": [
            [stage.name, names.index(stage.parent) if stage.parent in names else -1]
            for stage in stages
        ],
        "categories": categories,
        "category": [number[question.category] for question in questions],
        "starts": list(starts),
        "known": [number for number, q in enumerate(questions) if q.flags],
        "score": [
            [None if (a := q.answers[column]) is None else a.score for q in questions]
            for column in range(len(stages))
        ],
        "content": [
            [None if (a := q.answers[column]) is None else a.states for q in questions]
            for column in range(len(stages))
        ]
        if _is_open(questions)
        else None,
        "flags": [
            "".join("-" if (a := q.answers[column]) is None else a.flag for q in questions)
            for column in range(len(stages))
        ],
    }


def _write_pieces(
    home: Path, name: str, questions: Sequence[Question], images: frozenset[str]
) -> list[int]:
    """Writes the pieces; returns the number of each one's first question."""
    starts: list[int] = []
    piece: list[Any] = []
    long: list[Any] = []
    size = 0

    def close() -> None:
        if piece:
            at = f"{len(starts) - 1:03d}"
            write_script(home / f"{at}.js", f"{name}/{at}", piece)
            if long:
                write_script(home / f"{at}-long.js", f"{name}/{at}-long", long)
        piece.clear()
        long.clear()

    for number, question in enumerate(questions):
        said = [answer.text for answer in question.answers if answer]
        weight = sum(min(len(text), LONGEST_ANSWER) for text in said)
        if not piece or len(piece) >= PIECE_QUESTIONS or size + weight > PIECE_CHARACTERS:
            close()
            starts.append(number)
            size = 0
        size += weight
        piece.append(_item(question, images))
        long += [
            [number, column, answer.text]
            for column, answer in enumerate(question.answers)
            if answer and len(answer.text) > LONGEST_ANSWER
        ]
    close()
    return starts


def _item(question: Question, images: frozenset[str]) -> list[Any]:
    """[id, question, references, images (null where not kept), options, answers, flags]."""
    return [
        question.id,
        question.text[:LONGEST_QUESTION],
        [reference[:400] for reference in question.references],
        [sha if sha in images else None for sha in question.images],
        [option[:400] for option in question.options[:12]],
        [None if answer is None else _said(answer) for answer in question.answers],
        question.flags,
    ]


def _said(answer: Answer) -> list[Any]:
    """[text, characters in all, parsed, status, tokens, error]."""
    return [
        answer.text[:LONGEST_ANSWER],
        len(answer.text),
        answer.parsed if answer.parsed != answer.text else None,
        answer.status,
        answer.tokens,
        answer.error,
    ]


def link_images(run: Run, questions: Iterable[Question], target: Path) -> frozenset[str]:
    """Puts the thumbnails that are shown beside the page (hard links where the disk allows);
    returns those that exist.
    """
    target.mkdir(parents=True, exist_ok=True)
    found = set()
    for sha in {sha for question in questions for sha in question.images}:
        source, copy = run.root / "evals" / "images" / f"{sha}.png", target / f"{sha}.png"
        if not source.is_file():
            continue
        found.add(sha)
        if not copy.exists():
            try:
                os.link(source, copy)
            except OSError:
                shutil.copyfile(source, copy)
    return frozenset(found)
