"""Makes torchvision usable beside a torch that its compiled operators do not fit.

The set-up copies this file into the environment's site-packages, with a `.pth` line that imports
it when an interpreter starts. PyPI's torchvision is built for CUDA, and its compiled operators do
not load next to a CPU torch. Two things then fail:

- `import torchvision`, where it registers shapes for two operators (`nms`, `qnms`). Its Python
  code, which the image processors of transformers need, works as soon as the two are declared.
- `torchvision.io.decode_image` and its siblings, by which the processors of transformers open a
  picture that is given by path or address. Here Pillow decodes and encodes instead.

Nothing is imported until somebody imports torchvision, and nothing is declared where torchvision's
own operators load.
"""

from __future__ import annotations

import importlib.machinery
import io
import sys

# Not typing's: every interpreter of the environment starts with this file, and typing takes
# longer to import than all of it. Type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from PIL.Image import Image
    from torch import Tensor

NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Pillow's modes for torchvision's ImageReadMode, by its values; 0 (UNCHANGED) keeps the file's.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Modes of files whose pixels are no plain channels, and what torchvision makes of them.
PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "YCbCr": "RGB"}


def declare_missing_operators(extension: ModuleType) -> None:
    """Declares `torchvision::nms` and `torchvision::qnms` if torchvision's own did not load."""
    if extension._has_ops():
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + NMS)  # type: ignore[no-untyped-call]
    extension._declared = library  # type: ignore[attr-defined]  # lives as long as the module


def supply_image_operators(image: ModuleType) -> None:
    """Supplies the operators of `torchvision.io.image` if torchvision's own did not load.

    `torch.ops.image.decode_image` and the others are then Pillow's, on the CPU, and the functions
    of `torchvision.io` call them as they would call their own.
    """
    if image._has_image_ops():
        return
    import torch

    library = torch.library.Library("image", "DEF")  # type: ignore[no-untyped-call]
    for schema, function in IMAGE_OPERATORS.items():
        library.define(schema)  # type: ignore[no-untyped-call]
        # CompositeExplicitAutograd: the one key that serves operators without a tensor argument.
        name = schema.partition("(")[0]
        library.impl(name, function, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    image._supplied = library  # type: ignore[attr-defined]  # lives as long as the module
    image._has_image_ops = lambda: True  # type: ignore[attr-defined]


def read_file(filename: str) -> Tensor:
    """A file's bytes: uint8 [bytes]."""
    with open(filename, "rb") as file:
        return _as_tensor(file.read())


def write_file(filename: str, data: Tensor) -> Tensor:
    """Writes bytes (uint8 [bytes]) to a file, and returns them."""
    with open(filename, "wb") as file:
        file.write(data.numpy().tobytes())
    return data


def decode_image(data: Tensor, mode: int = 0, apply_exif_orientation: bool = False) -> Tensor:
    """The pixels of an encoded image: uint8 [channels, height, width].

    A gray PNG of 16 bits gives uint16, as torchvision's own decoder does; one in colour gives the
    upper 8 bits, because Pillow reads no more. A GIF of several frames gives [frames, 3, height,
    width]. Raises: RuntimeError where Pillow cannot read the data, as torchvision's own decoder.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data.numpy().tobytes())) as opened:
            if opened.format == "GIF":
                return _frames(opened)
            opened.load()
            picture = ImageOps.exif_transpose(opened) if apply_exif_orientation else opened
            return _pixels(picture, mode)
    except (OSError, SyntaxError, ValueError) as error:  # all three come from Pillow's decoders
        raise RuntimeError(f"the image cannot be decoded: {error}") from error


def decode_gif(data: Tensor) -> Tensor:
    """As `decode_image`; a GIF is always in colour."""
    return decode_image(data)


def encode_png(data: Tensor, compression_level: int) -> Tensor:
    """The bytes of a PNG file with these pixels (uint8 [1 or 3, height, width])."""
    return _encoded(data, "PNG", compress_level=compression_level)


def encode_jpeg(data: Tensor, quality: int) -> Tensor:
    """The bytes of a JPEG file with these pixels (uint8 [1 or 3, height, width])."""
    return _encoded(data, "JPEG", quality=quality)


# Schema -> function, as torchvision's own extension registers them.
DECODER = "(Tensor data, int mode, bool apply_exif_orientation=False) -> Tensor"
IMAGE_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "read_file(str filename) -> Tensor": read_file,
    "write_file(str filename, Tensor data) -> Tensor": write_file,
    f"decode_image{DECODER}": decode_image,
    f"decode_png{DECODER}": decode_image,
    f"decode_jpeg{DECODER}": decode_image,
    "decode_webp(Tensor data, int mode) -> Tensor": decode_image,
    "decode_gif(Tensor data) -> Tensor": decode_gif,
    "encode_png(Tensor data, int compression_level) -> Tensor": encode_png,
    "encode_jpeg(Tensor data, int quality) -> Tensor": encode_jpeg,
}


def _as_tensor(data: bytes) -> Tensor:
    import torch

    # A copy, because torch wants memory that it may write to; frombuffer refuses no bytes at all.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0).byte()


def _pixels(picture: Image, mode: int) -> Tensor:
    import numpy
    import torch

    if mode == 0:
        has_alpha = "transparency" in picture.info and picture.mode in ("P", "RGB", "L")
        wanted = "RGBA" if has_alpha else PLAIN.get(picture.mode, picture.mode)
    else:
        wanted = MODES[mode]
    if picture.mode.startswith("I;16"):  # Pillow's own conversion would cut values above 255
        gray = torch.from_numpy(numpy.array(picture).astype(numpy.uint16))[None]
        return gray if mode in (0, 1) else gray.expand(3, -1, -1).contiguous()
    converted = picture if picture.mode == wanted else picture.convert(wanted)
    pixels = numpy.array(converted)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _frames(picture: Image) -> Tensor:
    import torch
    from PIL import ImageSequence

    frames = [_pixels(frame, mode=3) for frame in ImageSequence.Iterator(picture)]
    return frames[0] if len(frames) == 1 else torch.stack(frames)


def _encoded(data: Tensor, kind: str, **options: int) -> Tensor:
    from PIL import Image

    if data.ndim != 3 or data.shape[0] not in (1, 3) or str(data.dtype) != "torch.uint8":
        raise RuntimeError(f"expected uint8 pixels [1 or 3, height, width], got {data.shape}")
    pixels = data[0] if data.shape[0] == 1 else data.permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(out, kind, **options)
    return _as_tensor(out.getvalue())


class ExtensionFinder:
    """A `sys.meta_path` entry that completes modules of torchvision, each once, right after it has
    run. It leaves `sys.meta_path` with the last of them.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[ModuleType], None]] = {
            "torchvision.extension": declare_missing_operators,
            "torchvision.io.image": supply_image_operators,
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        complete = self.waiting.pop(name, None)
        if complete is None:
            return None
        if not self.waiting:
            sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_complete(module: ModuleType) -> None:
            run(module)
            complete(module)

        spec.loader.exec_module = run_and_complete  # type: ignore[method-assign]
        return spec


if not any(type(finder).__name__ == "ExtensionFinder" for finder in sys.meta_path):
    sys.meta_path.insert(0, ExtensionFinder())
