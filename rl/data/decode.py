"""Prepares one image for an engine: decodes it, resizes it as the processor would, and writes its
thumbnail. `serve` does so in a process of its own (`rl/data/ahead.py`).
"""

from __future__ import annotations

import io
import os
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import PIL.Image

from rl.core import ImageSource
from rl.data.images import open_image
from rl.errors import DataError

Form = Literal["raw", "web"]

_THUMBNAIL = 256
_MAX_RAW = 4 * 2**20  # bytes: larger pixels stay encoded, since they would fill the memory
_WEB_FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class DecodeTask:
    """How to prepare an image.

    The form "raw" is pixels, which an engine opens at no cost. "web" is what a browser shows
    upright and opaque: a PNG, JPEG or WebP that already is so stays as it is, anything else becomes
    a PNG.
    """

    source: ImageSource
    size: tuple[int, int] | None = None  # (width, height) to resize to; None: as it is
    form: Form = "raw"
    thumbnail: Path | None = None  # where to write it; None: nowhere


def decode(task: DecodeTask) -> ImageSource:
    """The prepared image, with the pixels that `open_image` and the processor's own resize give.
    Raises: DataError where it cannot be decoded.
    """
    image = open_image(task.source)
    if task.thumbnail is not None and not task.thumbnail.exists():
        _write_thumbnail(task.source, image, task.thumbnail)
    resized = image if task.size in (None, image.size) else resize(image, task.size)
    if task.form == "web":
        if resized is image and _is_plain(task.source):
            return task.source
        return ImageSource(data=_encoded(resized, "PNG"))
    if 3 * resized.width * resized.height > _MAX_RAW:
        return task.source
    return ImageSource(data=_encoded(resized, "PPM"))


def check(task: DecodeTask) -> ImageSource:
    """The same image, after it has been decoded once as a check and its thumbnail written. Raises:
    DataError where it cannot be decoded.
    """
    image = open_image(task.source)
    if task.thumbnail is not None and not task.thumbnail.exists():
        _write_thumbnail(task.source, image, task.thumbnail)
    return task.source


def resize(image: PIL.Image.Image, size: tuple[int, int] | None) -> PIL.Image.Image:
    """The image at (width, height), resized as the processors of transformers do.

    They use torchvision's bicubic interpolation. Pillow's differs from it by one level of 256 in
    some pixels, which would change log-probs.
    """
    assert size is not None
    import torch
    from torchvision.transforms.v2 import functional as vision

    pixels = vision.resize(
        vision.pil_to_tensor(image),
        [size[1], size[0]],
        interpolation=vision.InterpolationMode.BICUBIC,
        antialias=True,
    )
    assert pixels.dtype == torch.uint8
    return PIL.Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def serve(pipe: Connection) -> None:
    """Serves until the pipe closes: receives a DecodeTask, sends an ImageSource or the error."""
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: ImageSource | Exception = decode(task)
        except (DataError, OSError) as error:  # OSError: the disk of the thumbnails may be full
            answer = error
        pipe.send(answer)


def _is_plain(source: ImageSource) -> bool:
    """Whether a browser shows the encoded image as `open_image` would: upright, opaque, RGB."""
    opened = PIL.Image.open(io.BytesIO(source.read()))
    turned = opened.getexif().get(0x0112, 1) != 1
    return opened.format in _WEB_FORMATS and opened.mode == "RGB" and not turned


def _write_thumbnail(source: ImageSource, image: PIL.Image.Image, path: Path) -> None:
    """Writes a PNG whose longer side has at most 256 pixels, whole or not at all."""
    content = source.read() if max(image.size) <= _THUMBNAIL else b""
    if not content.startswith(b"\x89PNG"):
        small = image.copy()
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        content = _encoded(small, "PNG")
    partial = f"{path}.{os.getpid()}-{threading.get_ident()}.partial"
    try:
        _write(partial, content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(partial, content)
    os.replace(partial, path)


def _write(path: str, content: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content)


def _encoded(image: PIL.Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()
