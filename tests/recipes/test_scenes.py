"""Scenes: parts never share a picture, benchmarks have the hub's columns, noise is there."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from recipes.synthetic.questions import MME_CATEGORIES, OPEN_SKILLS, SHORT_ANSWER, corpus
from recipes.synthetic.scenes import write_scenes
from recipes.synthetic.worlds import KINDS, Part, picture, worlds

PARTS: tuple[Part, ...] = ("train", "select", "report")


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def _table(folder: Path, benchmark: str, part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        folder / benchmark / f"{part}-00000-of-00001.parquet"
    ).to_pylist()
    return rows


def _pixels(content: bytes) -> str:
    image = Image.open(io.BytesIO(content))
    assert image.size == (64, 64)
    assert image.mode == "RGB"
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_no_picture_is_in_two_parts(scene_data: Path) -> None:
    train = {_pixels(path.read_bytes()) for path in (scene_data / "images").iterdir()}
    held_out: dict[str, set[str]] = {part: set() for part in ("select", "report")}
    for benchmark in ("mme", "textvqa"):
        for part, seen in held_out.items():
            seen |= {_pixels(r["image"]["bytes"]) for r in _table(scene_data, benchmark, part)}
    assert not train & held_out["select"]
    assert not train & held_out["report"]
    assert not held_out["select"] & held_out["report"]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_apart_by_construction_whatever_the_seed(kind: Any) -> None:
    pixels: dict[Part, set[bytes]] = {part: set() for part in PARTS}
    scans: dict[Part, set[int]] = {part: set() for part in PARTS}
    for part in PARTS:
        for seed in (0, 1):
            for world in islice(worlds(kind, part, random.Random(seed)), 150):
                assert world.part == part
                pixels[part].add(picture(world).tobytes())
                scans[part].add(world.scan)
    for a, b in (("train", "select"), ("train", "report"), ("select", "report")):
        assert not pixels[a] & pixels[b]
        if kind == "digit":
            assert not scans[a] & scans[b]


def test_same_seed_same_bytes_other_seed_other_rows(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_scenes(tmp_path / name, seed=seed, sft=12, rl=6, select=6, report=6)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) > 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a/sft.jsonl").read_text() != (tmp_path / "c/sft.jsonl").read_text()


def test_mme_is_in_the_hubs_form_and_paired(scene_data: Path) -> None:
    rows = _table(scene_data, "mme", "report")
    assert list(rows[0]) == ["question_id", "image", "question", "answer", "category"]
    assert {row["category"] for row in rows} == set(MME_CATEGORIES)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["question_id"] == second["question_id"]
        assert first["image"] == second["image"]
        assert (first["answer"], second["answer"]) == ("Yes", "No")
        assert first["question"] != second["question"]
        assert first["question"].endswith(" Please answer yes or no.")
    ids = Counter(row["question_id"] for row in rows)
    assert set(ids.values()) == {2}


def test_textvqa_is_in_the_hubs_form(scene_data: Path) -> None:
    rows = _table(scene_data, "textvqa", "report")
    assert list(rows[0]) == [
        *("image_id", "question_id", "question", "question_tokens", "image", "image_width"),
        *("image_height", "flickr_original_url", "flickr_300k_url", "answers", "image_classes"),
        *("set_name", "ocr_tokens"),
    ]
    assert len({row["question_id"] for row in rows}) == len(rows)
    for row in rows:
        assert len(row["answers"]) == 10
        assert Counter(answer.lower() for answer in row["answers"]).most_common(1)[0][1] >= 8


def test_datasets_sees_images_as_it_does_in_the_hubs_files(scene_data: Path) -> None:
    import datasets

    for benchmark in ("mme", "textvqa"):
        file = str(scene_data / benchmark / "select-00000-of-00001.parquet")
        table = datasets.load_dataset("parquet", data_files=file, split="train")
        assert isinstance(table.features["image"], datasets.Image)
        assert table[0]["image"].size == (64, 64)


def test_training_asks_what_the_benchmarks_ask(scene_data: Path) -> None:
    prompts = {r["messages"][0]["content"] for r in _rows(scene_data, "sft.jsonl")}
    assert any(p.endswith(SHORT_ANSWER) for p in prompts)
    assert any(p.endswith(" Please answer yes or no.") for p in prompts)
    assert any(p.endswith("?") for p in prompts)
    assert all(p.startswith("<image>") for p in prompts)
    skills = {r["skill"] for r in _rows(scene_data, "sft.jsonl")}
    assert skills <= {*OPEN_SKILLS, *MME_CATEGORIES}


def test_sft_answers_are_noisy_and_rl_solutions_are_not(tmp_path: Path) -> None:
    write_scenes(tmp_path, sft=600, rl=300, select=2, report=2)
    answers = [r["messages"][1]["content"] for r in _rows(tmp_path, "sft.jsonl")]
    wordy = sum(len(a.split()) > 2 for a in answers) / len(answers)
    assert 0.1 < wordy < 0.5
    assert any(a.endswith(".") and " " not in a for a in answers)
    rows = _rows(tmp_path, "rl.jsonl")
    assert all(set(r) == {"id", "messages", "images", "solution", "skill"} for r in rows)
    assert all(not r["solution"].endswith(".") for r in rows)
    assert {len(r["messages"]) for r in rows} == {1}
    assert all((tmp_path / r["images"][0]).is_file() for r in rows)


def test_a_few_labels_are_wrong_and_most_are_right() -> None:
    from recipes.synthetic.questions import Noise, questions

    rng = random.Random(0)
    asks = [ask for _, ask in islice(questions("train", rng, yes_no=0.3), 800)]
    wrong = [ask.noisy_answer(Noise(), rng) in ask.wrong for ask in asks]
    assert 0.02 < sum(wrong) / len(wrong) < 0.12
    assert all(ask.answer not in ask.wrong for ask in asks)
    quiet = Noise(wordy=0, talkative=0, period=0, wrong=0)
    assert all(ask.noisy_answer(quiet, rng) == ask.answer for ask in asks)


def test_the_corpus_holds_every_answer() -> None:
    assert {"red", "circle", "top left", "7", "Yes", "cat"} <= set(corpus())
