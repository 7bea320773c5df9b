"""ms-swift 4.6 on the work: python run_ms_swift.py WORK.json OUT.json

Each algorithm with ms-swift's defaults, except what the comparison fixes: all weights trained (its
default is LoRA with a frozen vision tower), float32, no gradient checkpointing, no evaluation, no
checkpoints, rows in the given order, and every row trained once. Its default of one process that
loads data ahead stays. GRPO samples with the Transformers engine, its default, at the temperature
1 and without a divergence from a reference, as Plumbline's recipe.
"""

from __future__ import annotations

import sys
import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from recorder import Timing, read_work
from swift.callbacks import TrainerCallback, callbacks_map
from swift.pipelines import rlhf_main, sft_main
from swift.rewards import ORM, orms
from swift.template import register_template
from swift.template.templates.qwen import Qwen3VLTemplate, QwenTemplateMeta
from transformers import AutoConfig

TEMPLATE = "qwen3_vl_other_vocabulary"


def register_image_tokens(model: str) -> None:
    """Registers Qwen3-VL's template with the image and video ids of the folder's own vocabulary.

    ms-swift has the ids of the released models written into its template; a model with another
    tokenizer needs a template of its own.
    """
    config = AutoConfig.from_pretrained(model)

    class OtherVocabulary(Qwen3VLTemplate):
        image_token_id = config.image_token_id
        video_token_id = config.video_token_id

    # ms-swift would train the line break after the end token too, which Plumbline does not.
    meta = QwenTemplateMeta(
        TEMPLATE, template_cls=OtherVocabulary, default_system=None, suffix=["<|im_end|>"]
    )
    register_template(meta)


class Spread(ORM):
    """The same reward as in `work.REWARD`, over a whole batch."""

    def __call__(self, completions: list[str], **_: Any) -> list[float]:
        return [sum(map(ord, text)) % 97 / 97 for text in completions]


class TimingCallback(Timing, TrainerCallback):
    """`Timing` as ms-swift makes its callbacks: with the arguments and the trainer."""

    latest: TimingCallback

    def __init__(self, args: Any, trainer: Any) -> None:
        Timing.__init__(self)
        self.trainer = trainer
        TimingCallback.latest = self

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.count_tokens(self.trainer)
        super().on_train_begin(*args, **kwargs)


def main() -> None:
    work, out = read_work(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(work.threads)
    register_image_tokens(work.model)
    callbacks_map["timing"] = TimingCallback
    orms["spread"] = Spread
    with tempfile.TemporaryDirectory() as folder:
        given = [text for key, value in options(work, folder).items() for text in (key, str(value))]
        if work.algorithm == "sft":
            sft_main(given)
        else:
            rlhf_main(given)
    timing = TimingCallback.latest
    timing.write(out, work, timing.trainer.state.log_history)


def options(work: SimpleNamespace, folder: str) -> dict[str, Any]:
    """The command-line options that the comparison fixes; all others are ms-swift's defaults."""
    common = {
        "--model": work.model,
        "--model_type": "qwen3_vl",
        "--template": TEMPLATE,
        "--dataset": work.ordered,
        "--split_dataset_ratio": 0,
        "--dataset_shuffle": "false",
        "--train_dataloader_shuffle": "false",
        "--tuner_type": "full",
        "--freeze_vit": "false",
        "--freeze_aligner": "false",
        "--torch_dtype": "float32",
        "--bf16": "false",
        "--fp16": "false",
        "--use_cpu": "true",
        "--attn_impl": "sdpa",
        "--gradient_checkpointing": "false",
        "--vit_gradient_checkpointing": "false",
        "--per_device_train_batch_size": work.prompts_per_step * work.group_size,
        "--gradient_accumulation_steps": 1,
        "--max_steps": work.steps,
        "--learning_rate": work.lr,
        "--logging_steps": 1,
        "--report_to": "none",
        "--save_strategy": "no",
        "--eval_strategy": "no",
        "--check_model": "false",
        "--output_dir": folder,
        "--callbacks": "timing",
    }
    if work.algorithm == "sft":
        return common
    common["--rlhf_type"] = work.algorithm
    if work.algorithm == "grpo":
        common |= {
            "--reward_funcs": "spread",
            "--num_generations": work.group_size,
            "--max_completion_length": work.answer_tokens,
            "--temperature": 1.0,
            "--beta": 0.0,
        }
    return common


if __name__ == "__main__":
    main()
