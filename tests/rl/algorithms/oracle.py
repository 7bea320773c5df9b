"""TRL 1.16 as the oracle: its own trainers compute loss and gradient on a tiny VLM batch.

Our side reads the very ids that TRL's collator made, and computes log-probs of each row by itself.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from datasets import List as ListFeature
from PIL import Image
from torch import Tensor

from rl.algorithms.base import Algorithm
from rl.batch import TreeBatch
from rl.core import ImageSource
from rl.data.tree import Branch, Tree
from tests.rl.algorithms.batches import Logps, OneRank, collate

TURN = ListFeature({"role": Value("string"), "content": Value("string")})
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
QUESTIONS = (
    "What colour is the square?",
    "Is there a red circle? Answer yes or no.",
    "How many shapes are there?",
    "Where is it?",
)
ANSWERS = ("red", "no, there is none of them", "3", "a yellow one on the left", "yes", "blue")


def case_id(case: Any) -> str:
    return ("-".join(case) or "plain") if isinstance(case, dict) else "ours"


def settings(tmp_path: Path, batch: int, **own: Any) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": batch,
        "use_cpu": True,
        "report_to": "none",
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
        **own,
    }


def dataset(rows: list[dict[str, Any]], names: dict[str, str], **labels: list[bool]) -> Dataset:
    """TRL's columns from ours: `names` maps theirs to a row's key."""
    columns = {theirs: [row[ours] for row in rows] for theirs, ours in names.items()}
    features = dict.fromkeys(columns, TURN) | {name: Value("bool") for name in labels}
    return Dataset.from_dict(
        {**columns, **labels, "images": [row["images"] for row in rows]},
        features=Features({**features, "images": ListFeature(ImageFeature())}),
    )


def picture(index: int) -> Image.Image:
    """64 x 64, a coloured square on a grey ramp; every index gives another picture."""
    ground = 40 + 30 * index % 200
    image = Image.new("RGB", (64, 64), (ground, ground, 255 - ground))
    image.paste(COLOURS[index % len(COLOURS)], (4 * index % 32, 8, 4 * index % 32 + 24, 40))
    return image


def source(index: int) -> ImageSource:
    """The same picture as a PNG."""
    file = io.BytesIO()
    picture(index).save(file, "PNG")
    return ImageSource(data=file.getvalue())


@dataclass
class Oracle:
    """A tiny checkpoint: `policy` is moved away from `reference`, the checkpoint itself.

    `layout` says how our side computes log-probs: "plain" is a forward of its own for each branch,
    written here; "tree" the learner's path, in rows of several trees and several micro-batches.
    """

    path: Path
    processor: Any
    policy: Any
    reference: Any
    layout: str

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Prompts with an image each, in TRL's conversational form, and two answers."""
        return [
            {
                "prompt": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}],
                "images": [picture(i)],
                "answer": [{"role": "assistant", "content": ANSWERS[i % len(ANSWERS)]}],
                "other": [{"role": "assistant", "content": ANSWERS[(i + 1) % len(ANSWERS)]}],
            }
            for i in range(count)
        ]

    def logps_of(self, model: Any) -> Callable[[Sequence[Tree]], Logps]:
        """Rows layout at its plainest: one forward a branch, no padding."""

        def logps(trees: Sequence[Tree]) -> Logps:
            return [
                [self.branch_logps(model, tree, branch) for branch in tree.branches]
                for tree in trees
            ]

        return logps

    def branch_logps(self, model: Any, tree: Tree, branch: Branch) -> Tensor:
        ids = torch.tensor([tree.trunk_ids + branch.token_ids])
        images = [Image.open(io.BytesIO(image.read())) for image in tree.images]
        pixels = dict(self.processor.image_processor(images=images, return_tensors="pt"))
        if "mm_token_type_ids" in self.processor.model_input_names:
            pixels["mm_token_type_ids"] = (ids == model.config.image_token_id).long()
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **pixels).logits[0]
        start = len(tree.trunk_ids)
        logp = logits[start - 1 : -1].float().log_softmax(-1)
        return logp.gather(-1, ids[0, start:, None])[:, 0]

    def ours(
        self, algorithm: Algorithm, trees: list[Tree]
    ) -> tuple[float, dict[str, Tensor], dict[str, tuple[float, float]]]:
        """Loss, gradient and metrics of our algorithm on these trees."""
        policy = copy.deepcopy(self.policy)
        policy.zero_grad()
        of_policy, of_reference = self.logps_of(policy), self.logps_of(self.reference)
        step = OneRank(trees, of_policy, of_reference)
        algorithm.prepare(step)
        denominators = algorithm.denominators(step)
        if self.layout == "plain":
            batches = [collate(step.trees, of_policy(step.trees))]
        else:
            batches = self.tree_batches(policy, step.trees)
            assert len(batches) > 1
        losses = [algorithm.loss(batch, denominators) for batch in batches]
        value = torch.stack([loss.value for loss in losses]).sum()
        value.backward()  # type: ignore[no-untyped-call]
        metrics = dict(denominators.metrics)
        for loss in losses:
            for name, (total, count) in loss.metrics.items():
                seen = metrics.get(name, (0.0, 0.0))
                metrics[name] = (seen[0] + total, seen[1] + count)
        return value.item(), gradient(policy), metrics

    def tree_batches(self, model: Any, trees: list[Tree]) -> list[TreeBatch]:
        """The micro-batches of the learner's own path."""
        from rl.data.collate import ImageStore
        from rl.data.collate import collate as collate_rows
        from rl.data.pack import pack
        from rl.models.forward import TreeForward
        from rl.models.load import find_spec

        spec = find_spec(self.path, self.processor)
        assert spec.layout == "tree"
        forward, store = TreeForward(model, spec), ImageStore(spec)
        longest = max(tree.num_tokens for tree in trees)
        plans = pack(trees, layout="tree", row_tokens=longest, tokens_per_microbatch=longest)
        found = [collate_rows(trees, plan, spec, store, layout="tree") for plan in plans]
        return [batch.tree_batch(forward(batch)) for batch in found]

    def theirs(self, trainer: Any, inputs: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradient of TRL's trainer, which holds a copy of the policy."""
        trainer.model.train()
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        return loss.item(), gradient(trainer.model)


def trees_of(
    inputs: dict[str, Any], prefix: str = "", mask: str = "completion_mask"
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(prompt ids, answer ids) of each row of a TRL batch, padding taken off."""
    for ids, seen, answer in zip(
        inputs[f"{prefix}input_ids"],
        inputs[f"{prefix}attention_mask"],
        inputs[f"{prefix}{mask}"],
        strict=True,
    ):
        yield (
            tuple(ids[(seen == 1) & (answer == 0)].tolist()),
            tuple(ids[(seen == 1) & (answer == 1)].tolist()),
        )


def gradient(model: Any) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_same(
    ours: tuple[float, dict[str, Tensor], Any],
    theirs: tuple[float, dict[str, Tensor]],
    *,
    smallest: float = 1e-2,
) -> None:
    """Loss and gradient to 1e-5: per tensor, norm of the difference over norm.

    An on-policy GRPO loss is zero but for rounding: a loss below `smallest` counts as that large.
    """
    assert abs(ours[0] - theirs[0]) <= 1e-5 * max(abs(theirs[0]), smallest), (ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()
    largest = max(float(grad.norm()) for grad in theirs[1].values())
    assert largest > 1e-4, "the oracle's gradient vanishes: the comparison would prove nothing"
    for name, grad in theirs[1].items():
        if float(grad.norm()) <= 1e-8 * largest:
            # Rounding itself: a key's bias, which the softmax cancels.
            assert float(ours[1][name].norm()) <= 1e-8 * largest, name
            continue
        difference = float((ours[1][name] - grad).norm() / grad.norm())
        assert difference <= 1e-5, (name, difference)


def load_oracle(path: Path, layout: str) -> Oracle:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(path)
    processor.tokenizer.padding_side = (
        "left"  # as GRPOTrainer asks, else its type ids are misplaced
    )
    reference = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    policy = copy.deepcopy(reference)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.2 * float(parameter.std()) * noise if parameter.numel() > 1 else noise)
    return Oracle(path, processor, policy, reference, layout)
