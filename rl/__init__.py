"""The names that most programs need: `from rl import GRPO, Sample, train_online`.

Each is imported when it is first used, so that `import rl` is quick and needs no torch.

>>> from rl import Message, Text
>>> Message("user", (Text("Hello"),)).text
'Hello'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl.algorithms.base import Denominators, Loss
    from rl.algorithms.dpo import DPO
    from rl.algorithms.grpo import GRPO
    from rl.algorithms.kto import KTO
    from rl.algorithms.sft import SFT
    from rl.batch import TreeBatch
    from rl.config import load_config
    from rl.core import (
        Answer,
        Completion,
        Image,
        ImageSource,
        Labelled,
        Message,
        Preference,
        Rollout,
        Sample,
        Sampling,
        Score,
        Text,
    )
    from rl.data.render import Renderer
    from rl.data.tree import Branch, Tree
    from rl.errors import PlumblineError
    from rl.learners.base import OptimPlan
    from rl.loops import train_offline, train_online
    from rl.models.load import load_model, load_processor
    from rl.runs.store import RunStore

__all__ = [
    "DPO",
    "GRPO",
    "KTO",
    "SFT",
    "Answer",
    "Branch",
    "Completion",
    "Denominators",
    "Image",
    "ImageSource",
    "Labelled",
    "Loss",
    "Message",
    "OptimPlan",
    "PlumblineError",
    "Preference",
    "Renderer",
    "Rollout",
    "RunStore",
    "Sample",
    "Sampling",
    "Score",
    "Text",
    "Tree",
    "TreeBatch",
    "load_config",
    "load_model",
    "load_processor",
    "train_offline",
    "train_online",
]

_HOMES = {
    "rl.algorithms.base": ("Denominators", "Loss"),
    "rl.algorithms.dpo": ("DPO",),
    "rl.algorithms.grpo": ("GRPO",),
    "rl.algorithms.kto": ("KTO",),
    "rl.algorithms.sft": ("SFT",),
    "rl.batch": ("TreeBatch",),
    "rl.config": ("load_config",),
    "rl.core": (
        *("Answer", "Completion", "Image", "ImageSource", "Labelled", "Message"),
        *("Preference", "Rollout", "Sample", "Sampling", "Score", "Text"),
    ),
    "rl.data.render": ("Renderer",),
    "rl.data.tree": ("Branch", "Tree"),
    "rl.errors": ("PlumblineError",),
    "rl.learners.base": ("OptimPlan",),
    "rl.loops": ("train_offline", "train_online"),
    "rl.models.load": ("load_model", "load_processor"),
    "rl.runs.store": ("RunStore",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rl' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
