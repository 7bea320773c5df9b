"""The browser of answers: which questions are shown, with every stage's answer side by side, and
the images they need.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.report.run import Run, Stage, read_lines

MAX_ITEMS = 1_000
MAX_CHARACTERS = 2_000_000
LONGEST_ANSWER = 4_000
LONGEST_QUESTION = 2_000
_SHA = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Browser:
    """One benchmark's examples, ready for the page's script, and the images that they show."""

    benchmark: str
    payload: dict[str, Any]
    images: list[str]

    @property
    def shown(self) -> int:
        return len(self.payload["items"])


def browse(run: Run, benchmark: str) -> Browser | None:
    """Questions of the part that is shown: those on which stages differ first, the rest in a fixed
    hashed order.
    """
    stages = [stage for stage in run.scored if benchmark in stage.results]
    if not stages:
        return None
    part = stages[0].results[benchmark].shown
    questions: dict[str, dict[str, Any]] = {}
    for column, stage in enumerate(stages):
        _add_stage(
            run.root / "evals" / stage.name / benchmark, part, column, len(stages), questions
        )
    items = sorted(questions.values(), key=_interest)
    kept = _within_budget(items)
    return Browser(
        benchmark=benchmark,
        payload={
            "benchmark": benchmark,
            "stages": [_column(stage, stages) for stage in stages],
            "total": len(items),
            "items": kept,
        },
        images=sorted({sha for item in kept for sha in item["images"]}),
    )


def _column(stage: Stage, stages: list[Stage]) -> dict[str, Any]:
    names = [other.name for other in stages]
    return {
        "name": stage.name,
        "parent": names.index(stage.parent) if stage.parent in names else None,
    }


def _add_stage(
    folder: Path, part: str, column: int, columns: int, questions: dict[str, dict[str, Any]]
) -> None:
    scores = {
        str(row.get("sample_id")): row
        for row in read_lines(folder / "scores.jsonl")
        if row.get("part") == part
    }
    for row in read_lines(folder / "responses.jsonl"):
        if row.get("part") != part:
            continue
        name = str(row.get("sample_id"))
        item = questions.get(name)
        if item is None:
            item = questions[name] = _question(name, row, columns)
        item["answers"][column] = _answer(row, scores.get(name, {}))


def _question(name: str, row: dict[str, Any], columns: int) -> dict[str, Any]:
    references = row.get("references")
    return {
        "id": name,
        "category": str(row.get("category") or ""),
        "question": clip(row.get("question"), LONGEST_QUESTION),
        "references": _counted(references if isinstance(references, list) else []),
        "images": [sha for sha in row.get("images") or [] if _SHA.fullmatch(str(sha))],
        "answers": [None] * columns,
    }


def _counted(references: list[Any]) -> list[str]:
    """Ten equal references are one with its count."""
    seen: dict[str, int] = {}
    for reference in references:
        text = clip(reference, 400)
        seen[text] = seen.get(text, 0) + 1
    return [text if times == 1 else f"{text} ×{times}" for text, times in seen.items()][:12]


def _answer(row: dict[str, Any], score: dict[str, Any]) -> dict[str, Any]:
    parsed = score.get("parsed")
    value = score.get("score")
    return {
        "text": clip(row.get("response"), LONGEST_ANSWER),
        "score": round(value, 4) if isinstance(value, int | float) else None,
        "status": str(score.get("status") or ("error" if row.get("error") else "")),
        "parsed": None if parsed is None else clip(parsed, 200),
        "finish": str(row.get("finish_reason") or ""),
        "tokens": row.get("num_tokens"),
        "error": clip(row["error"], 400) if row.get("error") else None,
    }


def clip(value: Any, longest: int) -> str:
    """Text cut to a length, saying how much was cut."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest:,} more characters in responses.jsonl)"


def _interest(item: dict[str, Any]) -> tuple[int, str]:
    marks = {(a["score"], a["status"]) for a in item["answers"] if a is not None}
    order = hashlib.sha256(item["id"].encode("utf-8", "replace")).hexdigest()
    return (0 if len(marks) > 1 else 1, order)


def _within_budget(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    characters = 0
    for item in items[:MAX_ITEMS]:
        characters += len(item["question"]) + sum(len(a["text"]) for a in item["answers"] if a)
        if characters > MAX_CHARACTERS and kept:
            break
        kept.append(item)
    return kept


def copy_images(run: Run, browsers: list[Browser], target: Path) -> set[str]:
    """Copies the thumbnails that the examples show; returns the ones that exist."""
    wanted = sorted({sha for browser in browsers for sha in browser.images})
    found = set()
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.png"):
        if old.stem not in wanted:
            old.unlink()
    for sha in wanted:
        source = run.root / "evals" / "images" / f"{sha}.png"
        if source.is_file():
            found.add(sha)
            if not (target / source.name).exists():
                shutil.copyfile(source, target / source.name)
    return found


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no character in it can end the element or start
    markup.

    >>> script_json({"a": "</script>&"})
    '{"a":"\\\\u003c/script\\\\u003e\\\\u0026"}'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
