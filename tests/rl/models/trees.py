"""Random small trees with images for a tiny model of any family, and its passes."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from recipes.synthetic.tiny import MADE_HERE, PACKAGE
from rl.batch import MicroBatch
from rl.core import ImageSource
from rl.data.collate import ImageStore, collate
from rl.data.pack import pack
from rl.data.tree import Branch, Tree
from rl.models.forward import TreeForward
from rl.models.load import find_spec, load_model, load_processor
from rl.models.spec import Dtype, Layout, ModelSpec
from rl.plugins import find, names

# Fixtures of the checkpoints that recipes.synthetic.tiny makes, by model_type, then every family
# that was added.
MODEL_TYPES = {
    "qwen3_vl": "tiny_qwen3vl",
    "qwen2_5_vl": "tiny_qwen25vl",
    "qwen2_vl": "tiny_qwen2vl",
    "llava": "tiny_llava",
    "qwen3": "tiny_qwen3",
    "qwen2": "tiny_qwen2",
    "llama": "tiny_llama",
}
TEXT_ONLY = ("tiny_qwen3", "tiny_qwen2", "tiny_llama")
ADDED = tuple(name for name in names(PACKAGE) if name not in MADE_HERE)
FAMILIES = (*MODEL_TYPES.values(), *ADDED)
VISION = tuple(
    name
    for name in FAMILIES
    if name not in TEXT_ONLY and (name not in ADDED or find(PACKAGE, name).has_vision)
)
SIZES = ((64, 48), (64, 64), (40, 90))


def checkpoint(request: pytest.FixtureRequest, family: str) -> Path:
    """The folder of a tiny checkpoint of one of FAMILIES."""
    if family not in ADDED:
        return Path(request.getfixturevalue(family))
    return Path(request.getfixturevalue("tiny_added")(family))


@cache
def picture(width: int, height: int, seed: int) -> ImageSource:
    """Noise as a PNG."""
    rng = random.Random(seed)
    image = Image.frombytes("RGB", (width, height), rng.randbytes(3 * width * height))
    data = io.BytesIO()
    image.save(data, "PNG")
    return ImageSource(data=data.getvalue())


class Small:
    """A tiny checkpoint with everything that a pass needs."""

    def __init__(self, path: Path, dtype: Dtype = "float32") -> None:
        self.path = path
        self.processor: Any = load_processor(path)
        self.spec: ModelSpec = find_spec(path, self.processor)
        self.model: Any = load_model(path, dtype)
        self.forward = TreeForward(self.model, self.spec)
        self.store = ImageStore(self.spec)

    def tree(self, seed: int, *, branches: int = 3, images: int | None = None) -> Tree:
        """A trunk with 0 to 2 images and answers of 1 to 5 tokens; sometimes a trained trunk
        token.
        """
        rng = random.Random(seed)
        most = 2 if self.spec.has_vision else 0
        count = rng.randint(0, most) if images is None else min(images, most)
        ids, pictures = self.words(rng, rng.randint(2, 6)), []
        for _ in range(count):
            width, height = rng.choice(SIZES)
            pictures.append(picture(width, height, rng.randrange(3)))
            placeholder = self.spec.image_token_id
            assert placeholder is not None
            ids += [placeholder] * self.spec.num_image_tokens(width, height)
            ids += self.words(rng, rng.randint(1, 4))
        trained = tuple(i > 0 and rng.random() < 0.1 and i < 3 for i in range(len(ids)))
        return Tree(
            uid=str(seed),
            trunk_ids=tuple(ids),
            images=tuple(pictures),
            trunk_trained=trained if any(trained) else None,
            branches=tuple(
                Branch(uid=f"{seed}/{b}", token_ids=tuple(self.words(rng, rng.randint(1, 5))))
                for b in range(branches)
            ),
        )

    def words(self, rng: random.Random, count: int) -> list[int]:
        return [rng.randrange(20, 250) for _ in range(count)]

    def batches(
        self,
        trees: Sequence[Tree],
        *,
        layout: Layout = "tree",
        row_tokens: int = 512,
        tokens: int = 10**9,
        finds_positions: bool = False,
    ) -> list[MicroBatch]:
        """The micro-batches of these trees."""
        plans = pack(trees, layout=layout, row_tokens=row_tokens, tokens_per_microbatch=tokens)
        return [
            collate(
                trees,
                plan,
                self.spec,
                self.store,
                layout=layout,
                dtype=self.model.dtype,
                finds_positions=finds_positions,
            )
            for plan in plans
        ]

    def learn(
        self, batches: Sequence[MicroBatch], weight: Callable[[tuple[int, int]], float]
    ) -> tuple[dict[tuple[int, int], Tensor], dict[str, Tensor]]:
        """Log-probs by (tree, branch), and gradients of their sum with a weight a branch."""
        self.model.zero_grad()
        found: dict[tuple[int, int], Tensor] = {}
        for batch in batches:
            logp_N = self.forward(batch)
            weight_B = torch.tensor([weight(owner) for owner in batch.owners])
            (logp_N * weight_B[batch.branch_N]).sum().backward()
            for number, owner in enumerate(batch.owners):
                found[owner] = logp_N.detach()[batch.branch_N == number]
        gradients = {
            n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None
        }
        return found, gradients


@cache
def small(path: Path) -> Small:
    """The same model for all tests of a session."""
    return Small(path)


def alternating(owner: tuple[int, int]) -> float:
    """A weight that differs from branch to branch, like an advantage."""
    return float((3 * owner[0] + 5 * owner[1]) % 7 - 3) / 4


def assert_same_gradient(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5
) -> None:
    """Norm of the difference over norm, tensor by tensor.

    A tensor whose gradient is 0 in exact arithmetic (a bias before a softmax) holds only
    rounding: it is measured against the whole gradient's norm.
    """
    assert ours.keys() == theirs.keys()
    whole = torch.stack([g.norm() for g in theirs.values()]).norm()
    for name, gradient in theirs.items():
        scale = torch.maximum(gradient.norm(), 1e-4 * whole)
        assert float((ours[name] - gradient).norm() / scale) <= tolerance, name
