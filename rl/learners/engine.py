"""The configuration that DeepSpeed's engine is made with."""

from __future__ import annotations

from typing import Any

from rl.learners.base import LearnerConfig


def zero_stage(config: LearnerConfig) -> int:
    """The ZeRO stage that DeepSpeed runs. One rank has nobody to share AdamW's state with: in
    float32, where ZeRO keeps no second copy of the weights either, stages 1 and 2 would only copy
    every gradient and weight to a flat buffer and back.

    >>> zero_stage(LearnerConfig(ranks=1, zero=1)), zero_stage(LearnerConfig(ranks=2, zero=1))
    (0, 1)
    """
    is_whole = config.ranks == 1 and config.dtype == "float32" and not config.offload
    return 0 if is_whole and config.zero < 3 else config.zero


def engine_config(config: LearnerConfig) -> dict[str, Any]:
    """DeepSpeed's configuration for these settings.

    The learner accumulates gradients over micro-batches itself, and its losses are divided by
    global denominators already: nothing here may divide a gradient again.

    bfloat16 (ZeRO 0 to 3) and float16 (1 to 3) keep float32 master weights and moments.
    `unverified`: the copies of `offload` between a GPU and the CPU, and float16's speed and range
    on a GPU. A CPU runs the same code, with everything in one memory.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0,  # set when a stage begins, from its OptimPlan
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "fp16": {"enabled": config.dtype == "float16", "loss_scale": config.loss_scale},
        "zero_optimization": {
            "stage": zero_stage(config),
            "overlap_comm": False,
            "offload_optimizer": {"device": "cpu" if config.offload else "none"},
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
