"""Preference pairs and labelled answers from a model's own scored completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.core import Completion, Image, ImageSource, Rollout, Sample, Score

Scored = tuple[Rollout, Sequence[Score]]


@dataclass(frozen=True)
class PairCounts:
    """How many prompts were sampled, pairs written for training, pairs held out, labelled answers
    written, and prompts without a pair (`tied`: no answer is better than another)."""

    prompts: int
    pairs: int
    heldout: int
    labelled: int
    tied: int


def write_pairs(
    groups: Sequence[Scored], folder: Path, *, heldout: int, label_threshold: float
) -> PairCounts:
    """Writes the best and the worst answer of each group as a preference pair, and both as labelled
    answers, in the row formats that DPO and KTO read.

        counts = write_pairs(groups, Path("runs/a/stages/pairs"), heldout=64, label_threshold=0.5)

    preference.jsonl has the pairs for training, labelled.jsonl their answers one by one (`label` is
    score >= `label_threshold`), heldout.jsonl `heldout` other pairs. Held out are the pairs whose
    uid hashes lowest, so the choice does not depend on the order, and their prompts are in no other
    file.

    A group whose scores are all equal gives no pair. A truncated answer is never the chosen one.
    The token ids are kept, so that training uses the tokens that were sampled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [pair for group in groups if (pair := best_and_worst(group, folder)) is not None]
    order = sorted(
        range(len(pairs)), key=lambda i: hashlib.sha256(pairs[i]["id"].encode()).hexdigest()
    )
    unseen = set(order[:heldout])
    training = [pair for index, pair in enumerate(pairs) if index not in unseen]
    labelled = [row for pair in training for row in _labelled(pair, label_threshold)]
    _write(folder / "preference.jsonl", training)
    _write(folder / "heldout.jsonl", [pairs[index] for index in sorted(unseen)])
    _write(folder / "labelled.jsonl", labelled)
    return PairCounts(
        len(groups), len(training), len(unseen), len(labelled), len(groups) - len(pairs)
    )


def best_and_worst(group: Scored, folder: Path) -> dict[str, Any] | None:
    """The preference row of a group; None if no finished answer is better than another."""
    rollout, scores = group
    scored = [
        (s.value, c)
        for c, s in zip(rollout.completions, scores, strict=True)
        if s.value is not None and c.text.strip()
    ]
    finished = [(value, completion) for value, completion in scored if not completion.is_truncated]
    if not finished:
        return None
    best_value, best = max(finished, key=lambda pair: pair[0])
    worst_value, worst = min(scored, key=lambda pair: pair[0])
    if best_value <= worst_value:
        return None
    return {
        **prompt_row(rollout.sample, folder),
        "chosen": best.text,
        "rejected": worst.text,
        **_ids("chosen_ids", best),
        **_ids("rejected_ids", worst),
        "chosen_score": best_value,
        "rejected_score": worst_value,
    }


def prompt_row(sample: Sample, folder: Path) -> dict[str, Any]:
    """A sample as a row of a data file: id, messages with `<image>` marks, image paths, solution.

    Images that have no file of their own are written into `folder`/images.
    """
    marks = [
        {
            "role": m.role,
            "content": "".join("<image>" if isinstance(p, Image) else p.text for p in m.parts),
        }
        for m in sample.messages
    ]
    images = [_image_path(image, folder) for image in sample.images]
    row: dict[str, Any] = {"id": sample.uid, "messages": marks, "images": images}
    if sample.references:
        row["solution"] = sample.references[0]
    return row


def _image_path(image: ImageSource, folder: Path) -> str:
    if image.path:
        return str(Path(image.path).resolve())
    path = folder / "images" / image.sha256
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image.read())
    return str(path.resolve())


def _ids(key: str, completion: Completion) -> Mapping[str, Any]:
    return {key: list(completion.token_ids)}


def _labelled(pair: Mapping[str, Any], threshold: float) -> list[dict[str, Any]]:
    prompt = {key: pair[key] for key in ("messages", "images")}
    return [
        {
            **prompt,
            "id": f"{pair['id']}/{side}",
            "answer": pair[side],
            "answer_ids": pair[f"{side}_ids"],
            "label": pair[f"{side}_score"] >= threshold,
            "score": pair[f"{side}_score"],
        }
        for side in ("chosen", "rejected")
    ]


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
