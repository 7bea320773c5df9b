"""Scenes: training rows and two benchmarks over small pictures, made offline.

Training rows carry the noise of real data: several phrasings, wordy answers, trailing periods, a
few wrong labels. The benchmarks are clean and have the hub's own columns: `mme/` (lmms-lab/MME) and
`textvqa/` (lmms-lab/textvqa), a file for each part. The same arguments write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from recipes.synthetic.questions import (
    MME_CATEGORIES,
    OPEN_SKILLS,
    Ask,
    Noise,
    kind_of,
    open_question,
    questions,
    yes_no_pair,
)
from recipes.synthetic.worlds import KINDS, SIDE, Kind, Part, World, png, worlds

ANNOTATORS = 10  # TextVQA has ten reference answers a question


@dataclass(frozen=True)
class SceneCounts:
    """How many rows, pictures and questions were written; the benchmarks' by part."""

    sft: int
    rl: int
    images: int
    mme: dict[Part, int]
    textvqa: dict[Part, int]


def write_scenes(
    out: Path,
    *,
    seed: int = 0,
    sft: int = 16000,
    rl: int = 6000,
    select: int = 1000,
    report: int = 2000,
    yes_no: float = 0.4,
    noise: Noise | None = None,
) -> SceneCounts:
    """How much was written below `out`: sft.jsonl, rl.jsonl, images/, mme/ and textvqa/.

    `select` and `report` are questions a benchmark (MME's rounded up to whole pairs), `yes_no` the
    share of yes/no pictures in training. Training, select and report show different worlds by
    construction (`World.part`).
    """
    out = Path(out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{seed} train")
    asked = _training(out, rng, yes_no)
    noise = noise or Noise()
    rows = [_sft_row(i, *next(asked), noise, rng) for i in range(sft)]
    images = {row["images"][0] for row in rows}
    _write_jsonl(out / "sft.jsonl", rows)
    rows = [_rl_row(i, *next(asked)) for i in range(rl)]
    images |= {row["images"][0] for row in rows}
    _write_jsonl(out / "rl.jsonl", rows)
    parts: dict[Part, int] = {"select": select, "report": report}
    mme, textvqa = {}, {}
    for part, count in parts.items():
        rng = random.Random(f"{seed} {part}")
        mme[part] = _write_parquet(out / "mme", part, _mme_rows(part, count, rng), MME_COLUMNS)
        table = _textvqa_rows(part, count, rng)
        textvqa[part] = _write_parquet(out / "textvqa", part, table, TEXTVQA_COLUMNS)
    return SceneCounts(sft, rl, len(images), mme, textvqa)


# -- training rows


def _training(out: Path, rng: random.Random, yes_no: float) -> Iterator[tuple[str, Ask]]:
    """Endless (picture below `out`, question) of the training part."""
    for index, (world, ask) in enumerate(questions("train", rng, yes_no=yes_no)):
        name = f"images/{index:06d}.png"
        (out / name).write_bytes(png(world))
        yield name, ask


def _sft_row(index: int, image: str, ask: Ask, noise: Noise, rng: random.Random) -> dict[str, Any]:
    question = ask.question if rng.random() < noise.bare_prompt else ask.prompt
    messages = [
        {"role": "user", "content": f"<image>{question}"},
        {"role": "assistant", "content": ask.noisy_answer(noise, rng)},
    ]
    return {
        "id": f"sft-{index:06d}",
        "messages": messages,
        "images": [image],
        "skill": ask.skill,
    }


def _rl_row(index: int, image: str, ask: Ask) -> dict[str, Any]:
    return {
        "id": f"rl-{index:06d}",
        "messages": [{"role": "user", "content": f"<image>{ask.prompt}"}],
        "images": [image],
        "solution": ask.answer,
        "skill": ask.skill,
    }


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


# -- benchmarks in the hub's columns


STRING = {"dtype": "string", "_type": "Value"}
INT32 = {"dtype": "int32", "_type": "Value"}
STRINGS = {"feature": STRING, "_type": "Sequence"}
IMAGE = {"_type": "Image"}
MME_COLUMNS: dict[str, dict[str, Any]] = {
    "question_id": STRING,
    "image": IMAGE,
    "question": STRING,
    "answer": STRING,
    "category": STRING,
}
TEXTVQA_COLUMNS: dict[str, dict[str, Any]] = {
    "image_id": STRING,
    "question_id": INT32,
    "question": STRING,
    "question_tokens": STRINGS,
    "image": IMAGE,
    "image_width": INT32,
    "image_height": INT32,
    "flickr_original_url": STRING,
    "flickr_300k_url": STRING,
    "answers": STRINGS,
    "image_classes": STRINGS,
    "set_name": STRING,
    "ocr_tokens": STRINGS,
}


def _mme_rows(part: Part, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Two rows a picture, one after the other: the first to be answered Yes, the second No."""
    pools = _pools(part, rng)
    rows: list[dict[str, Any]] = []
    categories = cycle(MME_CATEGORIES)
    while len(rows) < count:
        category = next(categories)
        pair = None
        while pair is None:
            world = next(pools[kind_of(category, rng)])
            pair = yes_no_pair(world, category, rng)
        name = f"{category}/{part}_{len(rows) // 2:05d}.png"
        image = {"bytes": png(world), "path": Path(name).name}
        for ask in pair:
            row = {"question_id": name, "image": image, "question": ask.question}
            rows.append({**row, "answer": ask.answer, "category": category})
    return rows


def _textvqa_rows(part: Part, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Short-answer questions, skills in turn; some pictures of shapes carry two."""
    pools = _pools(part, rng)
    rows: list[dict[str, Any]] = []
    skills = cycle(OPEN_SKILLS)
    while len(rows) < count:
        skill = next(skills)
        world = next(pools[kind_of(skill, rng)])
        asks = [open_question(world, skill, rng)]
        if world.kind == "shapes" and rng.random() < 0.5:
            asks.append(open_question(world, next(skills), rng))
        for ask in asks:
            if ask is not None and len(rows) < count:
                rows.append(_textvqa_row(world, ask, len(rows), part, rng))
    return rows


def _textvqa_row(
    world: World, ask: Ask, index: int, part: Part, rng: random.Random
) -> dict[str, Any]:
    content = png(world)
    image_id = hashlib.sha256(content).hexdigest()[:16]
    names = sorted({thing.name for thing in world.things})
    return {
        "image_id": image_id,
        "question_id": index + (0 if part == "select" else 1_000_000),
        "question": ask.question,
        "question_tokens": ask.question.rstrip("?").split(),
        "image": {"bytes": content, "path": f"{image_id}.png"},
        "image_width": SIDE,
        "image_height": SIDE,
        "flickr_original_url": "",
        "flickr_300k_url": "",
        "answers": _annotations(ask, rng),
        "image_classes": [n.capitalize() for n in names] if world.kind == "shapes" else [],
        "set_name": "val",
        "ocr_tokens": names if world.kind == "sign" else [],
    }


def _annotations(ask: Ask, rng: random.Random) -> list[str]:
    """Ten people's answers: at least eight say the right one, now and then with a capital."""
    answers = [ask.answer] * ANNOTATORS
    for index in rng.sample(range(ANNOTATORS), rng.choice((0, 0, 1, 2))):
        answers[index] = rng.choice((*ask.wrong[:2], "unanswerable", ask.answer.capitalize()))
    return answers


def _pools(part: Part, rng: random.Random) -> dict[Kind, Iterator[World]]:
    return {kind: worlds(kind, part, rng) for kind in KINDS}


def _write_parquet(
    folder: Path, part: Part, rows: list[dict[str, Any]], columns: dict[str, dict[str, Any]]
) -> int:
    """How many rows were written, with the metadata by which `datasets` knows the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "Image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "Sequence": pa.list_(pa.string()),
    }
    types = {"string": pa.string(), "int32": pa.int32()}
    fields = [
        pa.field(name, kinds.get(column["_type"]) or types[column["dtype"]])
        for name, column in columns.items()
    ]
    features = json.dumps({"info": {"features": columns}})
    schema = pa.schema(fields, metadata={"huggingface": features})
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")
    return len(rows)
