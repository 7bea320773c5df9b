"""Makes torchvision importable beside a torch that its compiled operators do not fit.

The set-up copies this file into the environment's site-packages, with a `.pth` line that imports
it when an interpreter starts. PyPI's torchvision is built for CUDA: its operators do not load next
to a CPU torch, and `import torchvision` fails where it registers shapes for two of them. Its Python
code, which the image processors of transformers need, works as soon as the two are declared.

Nothing is imported until somebody imports torchvision, and nothing is declared where torchvision's
own operators load.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

TARGET = "torchvision.extension"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing_operators(extension: ModuleType) -> None:
    """Declares `torchvision::nms` and `torchvision::qnms` if torchvision's own did not load."""
    if extension._has_ops():
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + SCHEMA)  # type: ignore[no-untyped-call]
    extension._declared = library  # type: ignore[attr-defined]  # lives as long as the module


class ExtensionFinder:
    """A `sys.meta_path` entry that completes one module, once, right after it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_declare(module: ModuleType) -> None:
            run(module)
            declare_missing_operators(module)

        spec.loader.exec_module = run_and_declare  # type: ignore[method-assign]
        return spec


if not any(type(finder).__name__ == "ExtensionFinder" for finder in sys.meta_path):
    sys.meta_path.insert(0, ExtensionFinder())
