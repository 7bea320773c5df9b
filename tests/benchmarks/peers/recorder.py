"""What every runner writes, and how a run of the Transformers Trainer is timed.

It runs in the environments of the peers too: only the standard library and transformers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import TrainerCallback


def read_work(path: str) -> SimpleNamespace:
    """The facts of `work.Work`, which cannot be imported in a peer's environment."""
    return SimpleNamespace(**json.loads(Path(path).read_text()))


def read_rows(path: str) -> list[dict[str, Any]]:
    """The rows of a jsonl file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def write_result(path: str, **facts: Any) -> None:
    """Writes a run's result.

    step_seconds: of every step, from the end of the step before to its own end, so that loading,
        logging and whatever else happens between two steps is counted.
    once_s: seconds spent before the first step on all rows (references); 0 where steps do it.
    rows, tokens_trained: of the whole run, by the system's own tensors.
    answer_lengths: the shortest and longest sampled answer; None where nothing is sampled.
    """
    Path(path).write_text(json.dumps(facts))


def num_trained(inputs: Any) -> int:
    """How many tokens of a collated batch carry loss.

    SFT and ms-swift mark them by labels other than -100, TRL's preference trainers by a mask. A
    label in the first column has no token before it, so no system trains it.
    """
    if not isinstance(inputs, Mapping):
        return 0  # GRPO hands over prompts; what it samples is in its own log
    for key in ("labels", "completion_labels"):
        if key in inputs:
            return int((inputs[key][:, 1:] != -100).sum())
    return int(inputs["completion_mask"].sum()) if "completion_mask" in inputs else 0


def answer_lengths(log: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """(shortest, mean, longest) sampled answer of every step, from a GRPO trainer's history."""
    kinds = ("min", "mean", "max")
    return [
        tuple(entry[f"completions/{kind}_length"] for kind in kinds)
        for entry in log
        if "completions/mean_length" in entry
    ]


class Timing(TrainerCallback):
    """Times the steps of a Trainer, and counts the tokens that it trains:

    timing = Timing()
    trainer = SFTTrainer(..., callbacks=[timing])
    timing.count_tokens(trainer)
    trainer.train()
    timing.write(out, work, trainer.state.log_history)
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended: its update is done."""
        self.ends.append(time.perf_counter())

    def count_tokens(self, trainer: Any) -> None:
        """Counts the trained tokens of every batch that reaches the trainer's `training_step`."""
        training_step = trainer.training_step

        def counted(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.tokens += num_trained(inputs)
            return training_step(model, inputs, *args, **kwargs)

        trainer.training_step = counted

    def write(self, out: str, work: SimpleNamespace, log: list[dict[str, Any]]) -> None:
        """Writes the result. `log`: the trainer's history."""
        lengths = answer_lengths(log)
        num_answers = work.prompts_per_step * work.group_size
        if lengths:
            self.tokens = round(sum(mean for _, mean, _ in lengths) * num_answers)
        write_result(
            out,
            step_seconds=[b - a for a, b in pairwise(self.ends)],
            once_s=0.0,  # references are computed in every step
            rows=work.prompts_per_step * (len(self.ends) - 1),
            tokens_trained=self.tokens,
            answer_lengths=[min(a for a, _, _ in lengths), max(b for _, _, b in lengths)]
            if lengths
            else None,
        )
