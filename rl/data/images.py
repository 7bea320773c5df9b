"""Images: from what a row gives (path, URL, bytes, data URI) to a size and to pixels in RGB.

source = to_source("cat.jpg", folder=Path("data"))  # names it; nothing is opened
image_size(source)                                  # (width, height), from the header alone
open_image(source)                                  # a PIL image: upright, RGB
"""

from __future__ import annotations

import base64
import binascii
import io
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import PIL.Image
from PIL import ImageOps

from rl.core import ImageSource
from rl.errors import DataError

_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 turn the picture by a quarter
_MAX_DOWNLOAD = 64 * 2**20
_TIMEOUT_S = 20.0


def open_image(source: ImageSource) -> PIL.Image.Image:
    """The image upright and in RGB; transparent parts become white, an animation its first frame.

    Raises: DataError where it is missing, is no image, or ends too early.
    """
    try:
        with _quiet(), _open(source) as image:
            return _upright_rgb(image)
    except _FAULTS as error:
        raise _unreadable(source, error) from error


def image_size(source: ImageSource) -> tuple[int, int]:
    """(width, height) of the image that `open_image` would return. Only the header is read. Raises:
    DataError where it is missing or is no image.
    """
    try:
        with _quiet(), _open(source) as image:
            width, height = image.size
            return (height, width) if _orientation(image) >= 5 else (width, height)
    except _FAULTS as error:
        raise _unreadable(source, error) from error


class HeaderCache:
    """`image_size` that opens each path once, also one that is broken.

    sizes = HeaderCache()
    sizes.size(ImageSource(path="data/images/7.png"))    # (640, 480); reads the file's header
    sizes.size(ImageSource(path="data/images/7.png"))    # the same, without opening the file
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | DataError] = {}

    def size(self, source: ImageSource) -> tuple[int, int]:
        """(width, height). Raises: DataError."""
        if source.path is None or source.data is not None:
            return image_size(source)
        if source.path not in self._known:
            try:
                self._known[source.path] = image_size(source)
            except DataError as error:
                self._known[source.path] = error
        found = self._known[source.path]
        if isinstance(found, DataError):
            raise found
        return found


def to_source(
    media: Any, *, folder: Path, image_root: Path | None = None, allow_urls: bool = False
) -> ImageSource:
    """The image that a row gives as a path, `file://`, data URI, `{bytes, path}`, bytes, a PIL
    image, or a URL where `allow_urls`.

    A relative path is below `image_root`, or without it below `folder`, the folder of the data
    file. With `image_root` a path outside of it is refused. Raises: DataError.
    """
    if isinstance(media, PIL.Image.Image):
        buffer = io.BytesIO()
        _upright_rgb(media).save(buffer, format="PNG")
        return ImageSource(data=buffer.getvalue())
    if isinstance(media, Mapping):
        return _from_mapping(media, folder, image_root, allow_urls)
    if isinstance(media, (bytes, bytearray)) and media:
        return ImageSource(data=bytes(media))
    if isinstance(media, Path):
        media = str(media)
    if not isinstance(media, str) or not media.strip():
        raise DataError(
            f"an image is given as {_shown(media)}", expected="a path, data URI or {bytes, path}"
        )
    if media.startswith("data:"):
        return ImageSource(data=_from_data_uri(media))
    scheme = media.partition("://")[0].lower() if "://" in media else ""
    if scheme in ("http", "https"):
        return _fetch(media, allow_urls)
    if scheme == "file":
        media = unquote(urlsplit(media).path)
    elif scheme:
        raise DataError(
            f'image "{_shown(media)}" has the scheme {scheme}',
            expected="a path, file://, data: or http(s)",
        )
    return ImageSource(path=str(_place(media, folder, image_root)))


def _from_mapping(
    media: Mapping[str, Any], folder: Path, image_root: Path | None, allow_urls: bool
) -> ImageSource:
    """The image of the hub's `{bytes, path}`, or of a block's `{url: ...}`."""
    data = media.get("bytes")
    if isinstance(data, (bytes, bytearray)) and data:
        return ImageSource(data=bytes(data))
    if isinstance(data, str) and data:  # JSON has no bytes: base64
        return ImageSource(data=_from_base64(data))
    path = media.get("path") or media.get("url")
    if isinstance(path, str) and path:
        return to_source(path, folder=folder, image_root=image_root, allow_urls=allow_urls)
    raise DataError(
        f"an image is given as a mapping with {', '.join(map(str, media)) or 'no keys'}",
        expected="bytes or path",
    )


def _from_data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise DataError("a data URI that is not base64", expected="data:image/...;base64,...")
    return _from_base64(body)


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"image data that is no base64: {error}") from error
    if not data:
        raise DataError("empty image data")
    return data


def _place(path: str, folder: Path, image_root: Path | None) -> Path:
    if "\0" in path:
        raise DataError(f"image path {_shown(path)} holds a null character")
    try:
        place = (image_root or folder) / Path(path)
        if image_root is not None and not place.resolve().is_relative_to(image_root.resolve()):
            raise DataError(
                f'image "{_shown(path)}" lies outside image_root',
                expected=f"a file below {image_root}",
            )
    except OSError as error:
        raise DataError(f'image "{_shown(path)}" cannot be looked for: {error.strerror}') from error
    return place


def _fetch(url: str, allow_urls: bool) -> ImageSource:
    if not allow_urls:
        raise DataError(
            f'image "{_shown(url)}" is a URL',
            expected="a local file",
            do="set `allow_urls: true` to download it",
        )
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            data: bytes = response.read(_MAX_DOWNLOAD + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise DataError(f'image "{_shown(url)}" cannot be downloaded: {error}') from error
    if len(data) > _MAX_DOWNLOAD:
        raise DataError(f'image "{_shown(url)}" is larger than {_MAX_DOWNLOAD >> 20} MiB')
    return ImageSource(data=data)


# What PIL raises on broken files. Its own errors are OSErrors; its parsers let the others through.
_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    PIL.Image.DecompressionBombError,
)


def _open(source: ImageSource) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(source.data) if source.data is not None else str(source.path))


def _quiet() -> warnings.catch_warnings[None]:
    return warnings.catch_warnings(action="ignore")


def _orientation(image: PIL.Image.Image) -> int:
    """The EXIF orientation in the header. A PNG may hold its EXIF block after the pixels; it is not
    looked for there, since that would decode them.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    orientation = _orientation(image)
    image.load()
    if orientation > 1:
        image.getexif()[_ORIENTATION] = orientation
        image = ImageOps.exif_transpose(image)
    return _rgb(image)


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image in RGB, transparent parts on white. PIL's own conversion clips 16-bit values to
    255; here they are scaled.
    """
    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image.convert("RGB")


def _unreadable(source: ImageSource, error: BaseException) -> DataError:
    name = f'image "{source.path}"' if source.data is None else "an image given as bytes"
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{name} is missing", do="put the file there, or correct the path (or image_root)"
        )
    if isinstance(error, (IsADirectoryError, PermissionError)):
        return DataError(f"{name} cannot be read: {error.strerror}")
    if isinstance(error, PIL.UnidentifiedImageError):
        return DataError(
            f"{name} is no image that can be read", expected="PNG, JPEG, WebP, GIF, BMP or TIFF"
        )
    return DataError(
        f"{name} cannot be read: {' '.join(str(error).split())[:120]}",
        do="replace the file, or remove the row",
    )


def _shown(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else "nothing"
        if value is None
        else f"a {type(value).__name__}"
    )
    return text if len(text) <= 80 else text[:77] + "..."
