"""Small hub repositories: a benchmark's rows in exactly the columns and types of its data card
(unverified: no hub was reachable), laid out as a download is.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evals.registry import get_benchmark
from tests.evals.conftest import png

TEXT, TEXTS = pa.string(), pa.list_(pa.string())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

SCHEMAS: dict[str, list[tuple[str, pa.DataType]]] = {
    "mme": [
        ("question_id", TEXT), ("image", IMAGE), ("question", TEXT), ("answer", TEXT),
        ("category", TEXT),
    ],
    "textvqa": [
        ("image_id", TEXT), ("question_id", pa.int32()), ("question", TEXT),
        ("question_tokens", TEXTS), ("image", IMAGE), ("image_width", pa.int32()),
        ("image_height", pa.int32()), ("flickr_original_url", TEXT),
        ("flickr_300k_url", TEXT), ("answers", TEXTS), ("image_classes", TEXTS),
        ("set_name", TEXT), ("ocr_tokens", TEXTS),
    ],
    "pope": [
        ("id", TEXT), ("question_id", TEXT), ("question", TEXT), ("answer", TEXT),
        ("image_source", TEXT), ("image", IMAGE), ("category", TEXT),
    ],
    "vqav2": [
        ("question_type", TEXT), ("multiple_choice_answer", TEXT),
        (
            "answers",
            pa.list_(
                pa.struct(
                    [("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", pa.int64())]
                )
            ),
        ),
        ("image_id", pa.int64()), ("answer_type", TEXT), ("question_id", pa.int64()),
        ("question", TEXT), ("image", IMAGE),
    ],
    "vizwiz": [
        ("question_id", TEXT), ("image", IMAGE), ("question", TEXT), ("answers", TEXTS),
        ("category", TEXT),
    ],
    "gqa": [
        ("id", TEXT), ("imageId", TEXT), ("question", TEXT), ("answer", TEXT),
        ("fullAnswer", TEXT), ("isBalanced", pa.bool_()),
        (
            "groups",
            pa.struct([("global", TEXT), ("local", TEXT)]),
        ),
        ("types", pa.struct([("structural", TEXT), ("semantic", TEXT), ("detailed", TEXT)])),
    ],
    "chartqa": [("type", TEXT), ("question", TEXT), ("answer", TEXT), ("image", IMAGE)],
    "docvqa": [
        ("questionId", TEXT), ("question", TEXT), ("question_types", TEXTS), ("image", IMAGE),
        ("docId", pa.int64()), ("ucsf_document_id", TEXT), ("ucsf_document_page_no", TEXT),
        ("answers", TEXTS), ("data_split", TEXT),
    ],
    "infovqa": [
        ("questionId", TEXT), ("question", TEXT), ("answers", TEXTS), ("answer_type", TEXTS),
        ("image", IMAGE), ("image_url", TEXT), ("operation/reasoning", TEXTS), ("ocr", TEXT),
        ("data_split", TEXT),
    ],
    "ocrbench": [
        ("dataset", TEXT), ("question", TEXT), ("question_type", TEXT), ("answer", TEXTS),
        ("image", IMAGE),
    ],
    "realworldqa": [("image_path", TEXT), ("image", IMAGE), ("question", TEXT), ("answer", TEXT)],
}  # fmt: skip

# benchmark -> (folder and split of the rows, and of other data that stands beside them)
LAYOUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mme": ("data/test", ()),
    "textvqa": ("data/validation", ("data/train", "data/test")),
    "pope": ("data/test", ("Full/adversarial", "Full/popular", "Full/random")),
    "vqav2": ("data/validation", ("data/test", "data/testdev")),
    "vizwiz": ("data/val", ("data/test",)),
    "chartqa": ("data/test", ("data/val",)),
    "docvqa": ("DocVQA/validation", ("DocVQA/test", "InfographicVQA/validation")),
    "infovqa": ("InfographicVQA/validation", ("InfographicVQA/test", "DocVQA/validation")),
    "ocrbench": ("data/test", ()),
    "realworldqa": ("data/test", ()),
}


def table(name: str, rows: list[dict]) -> pa.Table:
    """The rows in the card's columns and types; what an example does not say is null."""
    schema = pa.schema(SCHEMAS[name])
    return pa.Table.from_pylist(rows, schema=schema)


def write(path: Path, data: pa.Table, shards: int = 1) -> None:
    """`<folder>/<split>` as the hub names its shards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    step = -(-len(data) // shards)
    for shard in range(shards):
        file = path.with_name(f"{path.name}-{shard:05d}-of-{shards:05d}.parquet")
        pq.write_table(data.slice(shard * step, step), file)


def gqa_repository(root: Path, rows: list[dict]) -> Path:
    """Two configurations: the questions without images, and the images by id."""
    questions = [{key: row[key] for key in row if key != "image"} for row in rows]
    write(root / "testdev_balanced_instructions" / "testdev", table("gqa", questions))
    pictures = {row["imageId"]: row["image"] for row in rows}
    images = pa.Table.from_pylist(
        [{"id": key, "image": image} for key, image in pictures.items()],
        schema=pa.schema([("id", TEXT), ("image", IMAGE)]),
    )
    write(root / "testdev_balanced_images" / "testdev", images)
    write(root / "val_balanced_instructions" / "val", table("gqa", questions[:1]))
    return root


def picture(number: int) -> dict:
    return {"bytes": png(number), "path": f"{number}.png"}


def hub_rows(name: str, num_images: int) -> list[dict]:
    """The benchmark's worked rows for so many images; columns that end in id are numbered."""
    rows = []
    for image in range(num_images):
        for row in get_benchmark(name).examples:
            numbered = {
                key: (value + image if isinstance(value, int) else f"{value}/{image}")
                if key.lower().endswith("id")
                else value
                for key, value in row.items()
            }
            rows.append({**numbered, "image": picture(image)})
    return rows
