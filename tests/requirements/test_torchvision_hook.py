"""The hook: beside a CPU torch torchvision imports and opens pictures, in every interpreter; where
torchvision's own operators load, nothing happens.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.requirements.test_install import load

HOOK = Path(__file__).resolve().parents[2] / "requirements" / "torchvision_hook.py"


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_torchvision_and_a_qwen_processor_import_in_a_fresh_interpreter() -> None:
    child = python(
        "import torchvision\n"
        "from transformers import Qwen3VLProcessor, Qwen3VLVideoProcessor\n"
        "from torchvision.transforms.v2 import functional\n"
    )
    assert child.returncode == 0, child.stderr


def test_nothing_is_imported_at_start() -> None:
    child = python("import sys; print('torch' in sys.modules, 'torchvision' in sys.modules)")
    assert child.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(("has_operators", "declared"), [(True, False), (False, True)])
def test_operators_are_declared_only_where_they_are_missing(
    tmp_path: Path, has_operators: bool, declared: bool
) -> None:
    """A stand-in torchvision whose operators load, or do not."""
    package = tmp_path / "torchvision"
    (package / "io").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import extension, io\n")
    (package / "extension.py").write_text(f"def _has_ops():\n    return {has_operators}\n")
    (package / "io" / "__init__.py").write_text("from . import image\n")
    (package / "io" / "image.py").write_text(f"def _has_image_ops():\n    return {has_operators}\n")
    child = hooked(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import torchvision, torch\n"
        "print(hasattr(torchvision.extension, '_declared'),\n"
        "      hasattr(torch.ops.torchvision, 'nms'),\n"
        "      torchvision.io.image._has_image_ops(), hasattr(torch.ops.image, 'decode_image'),\n"
        "      any(type(f).__name__ == 'ExtensionFinder' for f in sys.meta_path))\n"
    )
    assert child.stdout.split() == [str(declared)] * 2 + ["True", str(declared), "False"], (
        child.stderr
    )


def hooked(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code beside this checkout's hook; -S leaves the installed one out."""
    packages = str(Path(torch.__file__).parent.parent)
    start = (
        f"import sys; sys.path.append({packages!r})\n"
        f"exec(compile(open({str(HOOK)!r}).read(), 'hook', 'exec'))\n"
    )
    command = [sys.executable, "-S", "-c", start + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_hook_is_installed_once() -> None:
    code = f"exec(compile(open({str(HOOK)!r}).read(), 'hook', 'exec'))\n"
    child = python(
        code
        + "import sys; print([type(f).__name__ for f in sys.meta_path].count('ExtensionFinder'))"
    )
    assert child.stdout.strip() == "1", child.stderr


def test_a_model_cards_snippet_opens_its_picture(tiny_qwen3vl: Path, tmp_path: Path) -> None:
    """By path, by data address and as an object, to the same tensors, for every way to name it."""
    picture = noise()
    picture.save(tmp_path / "a.png")
    child = hooked(
        "import base64, io, json\n"
        "from PIL import Image\n"
        "from transformers import AutoProcessor\n"
        "model, path = sys.argv[1:]\n"
        "processor = AutoProcessor.from_pretrained(model)\n"
        "data = 'data:image/png;base64,' + base64.b64encode(open(path, 'rb').read()).decode()\n"
        "given = [('image', Image.open(path)), ('path', path), ('url', path), ('image', path),\n"
        "         ('base64', data), ('image', data)]\n"
        "for key, value in given:\n"
        "    content = [{'type': 'image', key: value}, {'type': 'text', 'text': 'What is it?'}]\n"
        "    inputs = processor.apply_chat_template(\n"
        "        [{'role': 'user', 'content': content}], add_generation_prompt=True,\n"
        "        tokenize=True, return_dict=True, return_tensors='pt')\n"
        "    print(json.dumps({k: v.double().sum().item() for k, v in sorted(inputs.items())}))\n",
        str(tiny_qwen3vl),
        str(tmp_path / "a.png"),
    )
    sums = child.stdout.splitlines()
    assert child.returncode == 0, child.stderr[-2000:]
    assert len(sums) == 6
    assert set(sums) == {sums[0]}
    assert "pixel_values" in sums[0]


def noise(mode: str = "RGB") -> Image.Image:
    """A random picture of 37 x 23 pixels."""
    size = 37 * 23 * len(mode)
    return Image.frombytes(mode, (37, 23), random.Random(0).randbytes(size))


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    """One picture in every format that torchvision reads."""
    rotated = Image.Exif()
    rotated[0x0112] = 6  # Orientation: shown turned by 90 degrees
    noise().save(tmp_path / "colour.png")
    noise("RGBA").save(tmp_path / "alpha.png")
    noise("L").save(tmp_path / "gray.png")
    noise().quantize(16).save(tmp_path / "palette.png")
    noise().save(tmp_path / "photo.jpg")
    noise().save(tmp_path / "turned.jpg", exif=rotated)
    noise().save(tmp_path / "web.webp", lossless=True)
    noise().save(tmp_path / "still.gif")
    noise().save(tmp_path / "moving.gif", save_all=True, append_images=[noise("L")])
    Image.fromarray(np.arange(60000, 60064, dtype=np.uint16).reshape(8, 8)).save(
        tmp_path / "deep.png"
    )
    return tmp_path


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    return load("torchvision_hook")


def decoded(hook: ModuleType, file: Path, mode: int = 0, *, exif: bool = False) -> Any:
    return hook.decode_image(hook.read_file(str(file)), mode, exif).numpy()


@pytest.mark.parametrize("name", ["colour.png", "alpha.png", "gray.png", "photo.jpg", "web.webp"])
def test_pictures_have_the_pixels_that_pillow_reads(
    hook: ModuleType, encoded: Path, name: str
) -> None:
    """In every mode that torchvision has, channels first."""
    picture: Image.Image = Image.open(encoded / name)
    for mode, letters in enumerate((picture.mode, "L", "LA", "RGB", "RGBA")):
        wanted = np.array(picture.convert(letters)).reshape(23, 37, len(letters))
        found = decoded(hook, encoded / name, mode)
        assert found.dtype == np.uint8
        assert np.array_equal(found, wanted.transpose(2, 0, 1)), mode


def test_odd_pictures_have_torchvisions_shapes(hook: ModuleType, encoded: Path) -> None:
    assert decoded(hook, encoded / "turned.jpg").shape == (3, 23, 37)
    assert decoded(hook, encoded / "turned.jpg", exif=True).shape == (3, 37, 23)
    assert decoded(hook, encoded / "palette.png").shape == (3, 23, 37)
    assert decoded(hook, encoded / "still.gif").shape == (3, 23, 37)
    assert decoded(hook, encoded / "moving.gif").shape == (2, 3, 23, 37)
    deep = decoded(hook, encoded / "deep.png")
    assert (deep.dtype, deep.shape) == (np.uint16, (1, 8, 8))
    assert deep.flatten().tolist() == list(range(60000, 60064))


def test_pictures_are_written_and_read_again(hook: ModuleType, tmp_path: Path) -> None:
    pixels = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)
    file = tmp_path / "out.png"
    hook.write_file(str(file), hook.encode_png(pixels, 6))
    assert np.array_equal(decoded(hook, file), pixels)
    hook.write_file(str(file), hook.encode_jpeg(pixels[:1], 100))
    assert np.abs(decoded(hook, file).astype(int) - pixels[:1].numpy()).max() <= 2
    with pytest.raises(RuntimeError, match=r"expected uint8 pixels \[1 or 3, height, width\]"):
        hook.encode_png(pixels[:2], 6)


@pytest.mark.parametrize("data", [b"", b"no picture", "half"])
def test_what_is_no_picture_is_torchvisions_error(
    hook: ModuleType, encoded: Path, data: bytes | str
) -> None:
    """RuntimeError, which callers of torchvision catch."""
    file = encoded / "colour.png"
    whole = file.read_bytes()
    file.write_bytes(data if isinstance(data, bytes) else whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match="the image cannot be decoded: "):
        decoded(hook, file)
