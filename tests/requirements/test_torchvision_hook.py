"""The hook: torchvision imports beside a CPU torch, in every interpreter; else nothing happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    """A stand-in torchvision whose operators load, or do not; -S leaves the installed hook out."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from . import extension\n")
    (package / "extension.py").write_text(f"def _has_ops():\n    return {has_operators}\n")
    packages = Path(__import__("torch").__file__).parent.parent
    child = python(
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; sys.path.append({str(packages)!r})\n"
        f"exec(compile(open({str(HOOK)!r}).read(), 'hook', 'exec'))\n"
        "import torchvision.extension as extension, torch\n"
        "print(hasattr(extension, '_declared'), hasattr(torch.ops.torchvision, 'nms'),\n"
        "      any(type(f).__name__ == 'ExtensionFinder' for f in sys.meta_path))\n",
        "-S",
    )
    assert child.stdout.split() == [str(declared), str(declared), "False"], child.stderr


def test_the_hook_is_installed_once() -> None:
    code = f"exec(compile(open({str(HOOK)!r}).read(), 'hook', 'exec'))\n"
    child = python(
        code
        + "import sys; print([type(f).__name__ for f in sys.meta_path].count('ExtensionFinder'))"
    )
    assert child.stdout.strip() == "1", child.stderr
