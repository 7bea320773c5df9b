"""Sizes from headers equal sizes of pixels; all pictures become upright RGB; faults are told."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.core import ImageSource
from rl.data.images import HeaderCache, image_size, open_image, to_source
from rl.errors import DataError


def encoded(image: PIL.Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


PNG = encoded(PIL.Image.new("RGB", (5, 3), (255, 0, 0)))


MODES = {
    "PNG": ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"],
    "JPEG": ["RGB", "L", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["RGB", "L", "P", "1"],
    "BMP": ["RGB", "L", "P", "1"],
    "TIFF": ["RGB", "RGBA", "L", "1", "CMYK", "I;16"],
}


@pytest.mark.parametrize(("format", "mode"), [(f, mode) for f in MODES for mode in MODES[f]])
def test_the_headers_size_is_the_pixels_size(format: str, mode: str) -> None:
    data = encoded(PIL.Image.new(mode, (6, 4)), format)
    image = open_image(ImageSource(data=data))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert image_size(ImageSource(data=data)) == (6, 4)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(format: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    source = ImageSource(data=encoded(PIL.Image.new("RGB", (6, 4)), format, exif=exif))
    assert open_image(source).size == image_size(source)
    assert image_size(source) == ((4, 6) if orientation >= 5 else (6, 4))


def test_what_is_transparent_lies_on_white() -> None:
    source = ImageSource(data=encoded(PIL.Image.new("RGBA", (1, 1), (0, 0, 0, 0))))
    assert open_image(source).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_become_eight() -> None:
    source = ImageSource(data=encoded(PIL.Image.new("I;16", (1, 1), 128 << 8)))
    assert open_image(source).getpixel((0, 0)) == (128, 128, 128)


def test_a_picture_that_breaks_off_shows_when_decoded_only() -> None:
    source = ImageSource(data=encoded(PIL.Image.effect_noise((64, 64), 50), "JPEG")[:700])
    assert image_size(source) == (64, 64)
    with pytest.raises(DataError, match="an image given as bytes cannot be read"):
        open_image(source)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n")
    for name, words in (
        ("none.png", "is missing"),
        ("x.png", "no image that can be read"),
        (".", "cannot be read"),
    ):
        for look in (image_size, open_image, HeaderCache().size):
            with pytest.raises(DataError, match=words):
                look(ImageSource(path=str(tmp_path / name)))


def test_a_header_is_read_once_a_path(tmp_path: Path) -> None:
    path, cache = tmp_path / "x.png", HeaderCache()
    path.write_bytes(PNG)
    assert cache.size(ImageSource(path=str(path))) == (5, 3)
    path.unlink()
    assert cache.size(ImageSource(path=str(path))) == (5, 3)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(PNG)), st.integers(0, 255))
def test_any_bytes_are_a_picture_or_a_data_error(data: bytes, place: int, byte: int) -> None:
    for broken in (data, PNG[:place] + bytes([byte]) + PNG[place + 1 :]):
        for look in (image_size, open_image):
            with contextlib.suppress(DataError):
                look(ImageSource(data=broken))


def test_relative_to_the_data_file_or_below_image_root(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    assert to_source("a.png", folder=tmp_path) == ImageSource(path=str(tmp_path / "a.png"))
    assert to_source("/a.png", folder=tmp_path) == ImageSource(path="/a.png")
    inside = to_source("a.png", folder=tmp_path, image_root=root)
    assert inside == ImageSource(path=str(root / "a.png"))
    (root / "link.png").symlink_to(tmp_path / "a.png")
    for outside in ("../a.png", "/a.png", "file:///a.png", "link.png"):
        with pytest.raises(DataError, match="lies outside image_root"):
            to_source(outside, folder=tmp_path, image_root=root)


def test_media_of_every_form(tmp_path: Path) -> None:
    text = base64.b64encode(PNG).decode()
    for media in (
        PNG,
        {"bytes": PNG, "path": "x"},
        {"bytes": text},
        f"data:image/png;base64,{text}",
    ):
        assert to_source(media, folder=tmp_path) == ImageSource(data=PNG)
    for media in (PIL.Image.new("RGB", (5, 3)), PIL.Image.new("CMYK", (5, 3))):
        assert image_size(to_source(media, folder=tmp_path)) == (5, 3)
    assert to_source("file:///a%20b.png", folder=tmp_path) == ImageSource(path="/a b.png")
    for wrong in (
        None,
        3,
        "",
        {},
        {"bytes": None, "path": None},
        "ftp://x/y",
        "data:image/png,x",
        "a\0b",
    ):
        with pytest.raises(DataError):
            to_source(wrong, folder=tmp_path)


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/a.png" else 404)
        self.end_headers()
        self.wfile.write(PNG)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_urls_only_where_allowed(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(DataError, match="is a URL"):
            to_source(f"{url}/a.png", folder=tmp_path)
        found = to_source(f"{url}/a.png", folder=tmp_path, allow_urls=True)
        assert found == ImageSource(data=PNG)
        with pytest.raises(DataError, match="cannot be downloaded: HTTP Error 404"):
            to_source(f"{url}/b.png", folder=tmp_path, allow_urls=True)
    finally:
        server.shutdown()
        server.server_close()
