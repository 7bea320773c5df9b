"""The floor: what a step cannot do without. python -m tests.benchmarks.peers.run_floor WORK.json
OUT.json

Forward and backward of the work's trained tokens, clipping, and fused AdamW, in a plain PyTorch
loop. Every image and every prompt is computed once, as in Plumbline's tree layout. There is no data
work (all tensors are made beforehand), no reference, no sampling, no publish, no gate and no Ray.
The loss is the mean log-prob; an algorithm's own arithmetic on so few numbers takes no time.
"""

from __future__ import annotations

import random
import sys
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch

from rl.core import Completion, Rollout, Score
from rl.data.collate import ImageStore
from rl.data.render import Renderer
from rl.data.rows import Reading, to_record
from rl.data.sources import Row
from rl.data.tree import Tree
from rl.learners.base import LearnerConfig
from rl.learners.passes import Passes
from rl.models.forward import TreeForward
from rl.models.load import find_spec, load_model, load_processor
from tests.benchmarks.peers.recorder import read_rows, read_work, write_result

READINGS: dict[str, Reading] = {
    "sft": "demonstration",
    "dpo": "preference",
    "kto": "labelled",
    "grpo": "group",
}


def make_trees(work: SimpleNamespace, renderer: Renderer) -> list[Tree]:
    """The rows as trees; GRPO's answers are random tokens of the work's length."""
    rng, reading, trees = random.Random(0), READINGS[work.algorithm], []
    for number, value in enumerate(read_rows(work.ordered)):
        record: Any = to_record(Row(work.ordered, number, number, value), reading)
        if reading != "group":
            trees.append(renderer.make_tree(reading, record))
            continue
        answers = []
        for _ in range(work.group_size):
            ids = tuple(rng.randrange(20, 250) for _ in range(work.answer_tokens))
            answers.append(Completion(ids, (-5.0,) * len(ids), "", "length"))
        rollout = Rollout(record, renderer.prompt_ids(record), tuple(answers))
        trees.append(renderer.rollout_tree(rollout, [Score(0.0)] * work.group_size))
    return trees


def main() -> None:
    work, out = read_work(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(work.threads)
    spec = find_spec(work.model, load_processor(work.model))
    config = LearnerConfig()
    passes = Passes(
        spec=spec,
        store=ImageStore(spec),
        layout=spec.layout,
        row_tokens=config.row_tokens,
        tokens_per_microbatch=config.tokens_per_microbatch,
    )
    trees = make_trees(work, Renderer(spec.processor, spec, 256))
    size = work.prompts_per_step
    steps = [trees[first : first + size] for first in range(0, len(trees), size)]
    batches = [[passes.batch(step, plan) for plan in passes.plans(step)] for step in steps]
    forward = TreeForward(load_model(work.model, "float32"), spec).train()
    optimizer = torch.optim.AdamW(forward.parameters(), lr=work.lr, fused=True)
    ends, tokens = [time.perf_counter()], 0
    for step in batches:
        num_trained = sum(len(batch.target_N) for batch in step)
        for batch in step:
            (-forward(batch).sum() / num_trained).backward()
        torch.nn.utils.clip_grad_norm_(forward.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += num_trained
        ends.append(time.perf_counter())
    write_result(
        out,
        step_seconds=[b - a for a, b in pairwise(ends)],
        once_s=0.0,
        rows=len(trees),
        tokens_trained=tokens,
        answer_lengths=[work.answer_tokens] * 2 if work.algorithm == "grpo" else None,
    )


if __name__ == "__main__":
    main()
