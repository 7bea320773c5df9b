"""One image made ready for an engine: decoded, brought to the processor's size for it, its
thumbnail written. Also the process that does so ahead of the engines (`serve`).
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
_MAX_RAW = 4 * 2**20  # pixels of more bytes stay encoded: they would only fill memory
_WEB_FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class DecodeTask:
    """What to make of an image. `size` (width, height) is the processor's own, None as it is.

    `form`: "raw" pixels, which cost an engine nothing to open; or "web", a PNG, JPEG or WebP as it
    is where a browser would show it upright and opaque, else a PNG.
    """

    source: ImageSource
    size: tuple[int, int] | None = None
    form: Form = "raw"
    thumbnail: Path | None = None


def decode(task: DecodeTask) -> ImageSource:
    """The image as the engine is to have it: the same pixels that `open_image` and the processor's
    own resize give. Raises: DataError where it cannot be decoded.
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
    """The image as it is, known to decode, its thumbnail written. Raises: DataError."""
    image = open_image(task.source)
    if task.thumbnail is not None and not task.thumbnail.exists():
        _write_thumbnail(task.source, image, task.thumbnail)
    return task.source


def resize(image: PIL.Image.Image, size: tuple[int, int] | None) -> PIL.Image.Image:
    """To (width, height) as the processors of transformers do: Pillow's own bicubic differs by a
    level here and there.
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
    """Serves until the pipe closes: takes a DecodeTask, sends an ImageSource or the error."""
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: ImageSource | Exception = decode(task)
        except (DataError, OSError) as error:  # OSError: a full disk under the thumbnails, say
            answer = error
        pipe.send(answer)


def _is_plain(source: ImageSource) -> bool:
    opened = PIL.Image.open(io.BytesIO(source.read()))
    turned = opened.getexif().get(0x0112, 1) != 1
    return opened.format in _WEB_FORMATS and opened.mode == "RGB" and not turned


def _write_thumbnail(source: ImageSource, image: PIL.Image.Image, path: Path) -> None:
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
