"""Training images that stand in a benchmark are found, however they are encoded."""

import io

import pytest
from PIL import Image

from evals.base import get_benchmark
from evals.contamination import overlap, pixel_hash, train_hashes
from rl.core import Answer, ImageSource, Labelled, Sample
from rl.errors import DataError
from tests.evals.conftest import mme_rows, png, write_parquet


def re_encoded(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, format="BMP")
    return out.getvalue()


def test_overlap_by_pixels(tmp_path):
    items = get_benchmark("mme").load(write_parquet(tmp_path / "d.parquet", mme_rows(0, 5)))
    copy = ImageSource(data=re_encoded(png(3)))
    assert copy.sha256 != ImageSource(data=png(3)).sha256
    shown = Sample("t", (), (copy, ImageSource(data=png(99))))
    found = overlap(train_hashes([Labelled(shown, Answer("x"), True)]), items)
    assert found.num_images == 1
    assert found.sample_ids == ("mme-00006", "mme-00007")
    assert overlap(set(), items).num_images == 0


def test_size_counts():
    assert pixel_hash(ImageSource(data=png(1, 8))) != pixel_hash(ImageSource(data=png(1, 4)))


def test_broken_image():
    with pytest.raises(DataError, match="cannot be decoded"):
        pixel_hash(ImageSource(data=b"nothing"))
