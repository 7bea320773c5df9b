"""TRL 1.16 on the work: python run_trl.py WORK.json OUT.json

Each algorithm with its trainer's defaults, except what the comparison fixes: float32, no gradient
checkpointing, no evaluation, no checkpoints, rows in the given order, and every row trained once.
GRPO samples with the Transformers engine, TRL's default, and without a divergence from a reference,
as Plumbline's recipe.
"""

from __future__ import annotations

import sys
import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset, Image, Sequence
from recorder import Timing, read_rows, read_work
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    SFTConfig,
    SFTTrainer,
)

TRAINERS: dict[str, tuple[Any, Any]] = {
    "sft": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
    "grpo": (GRPOConfig, GRPOTrainer),
}


def to_trl(row: dict[str, Any], algorithm: str) -> dict[str, Any]:
    """A row under TRL's keys: images apart, and no placeholder in the text."""
    question, *answer = row["messages"]
    prompt = [{"role": "user", "content": question["content"].removeprefix("<image>")}]
    found = {"prompt": prompt, "images": row["images"]}
    if algorithm == "dpo":
        found["chosen"] = answer
        found["rejected"] = [{"role": "assistant", "content": row["rejected_response"]}]
    elif algorithm != "grpo":
        found["completion"] = answer
    if algorithm == "kto":
        found["label"] = row["label"]
    return found


def spread(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
    """The same reward as in `work.REWARD`, over a whole batch."""
    return [sum(map(ord, turns[0]["content"])) % 97 / 97 for turns in completions]


def main() -> None:
    work, out = read_work(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(work.threads)
    rows = [to_trl(row, work.algorithm) for row in read_rows(work.ordered)]
    dataset = Dataset.from_list(rows).cast_column("images", Sequence(Image()))
    config, trainer_class = TRAINERS[work.algorithm]
    # TRL's trainers load the processor this way when they are given a model's name.
    side = "left" if work.algorithm == "grpo" else "right"
    with tempfile.TemporaryDirectory() as folder:
        timing = Timing()
        extra = {"reward_funcs": spread} if work.algorithm == "grpo" else {}
        trainer = trainer_class(
            model=AutoModelForImageTextToText.from_pretrained(work.model, dtype=torch.float32),
            processing_class=AutoProcessor.from_pretrained(work.model, padding_side=side),
            args=config(**options(work, folder)),
            train_dataset=dataset,
            callbacks=[timing],
            **extra,
        )
        timing.count_tokens(trainer)
        trainer.train()
        timing.write(out, work, trainer.state.log_history)


def options(work: SimpleNamespace, folder: str) -> dict[str, Any]:
    """The trainer's settings that the comparison fixes; all others are TRL's defaults."""
    common = {
        "output_dir": folder,
        "per_device_train_batch_size": work.prompts_per_step * work.group_size,
        "max_steps": work.steps,
        "learning_rate": work.lr,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
    }
    if work.algorithm == "sft":
        return {**common, "shuffle_dataset": False}
    if work.algorithm == "grpo":
        return {
            **common,
            "shuffle_dataset": False,
            "num_generations": work.group_size,
            "max_completion_length": work.answer_tokens,
        }
    return common


if __name__ == "__main__":
    main()
