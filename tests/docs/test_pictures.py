"""The pictures: well-formed, readable on light and dark pages, each shown by a page."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rl.runs.metrics import describe
from tests.docs.draw import CURVES, draw
from tests.docs.fences import PAGES, ROOT

PICTURES = sorted((ROOT / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_sound(picture: Path) -> None:
    text = picture.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in text
    assert any(picture.name in page.read_text() for page in PAGES)


@pytest.mark.parametrize("stage", CURVES)
def test_a_stage_is_drawn(stage: str, tmp_path: Path) -> None:
    keys = [key for _, keys in CURVES[stage] for key in keys]
    assert all(describe(key) for key in keys)
    folder = tmp_path / "stages" / stage
    folder.mkdir(parents=True)
    rows = [{"step": n, **dict.fromkeys(keys, n / 7)} for n in range(1, 100)]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    drawn = ElementTree.fromstring(draw(tmp_path, stage))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(keys)
