"""Words of ms-swift, TRL and verl, and what to write here instead.

A user who comes from one of these tools types its commands, flags and keys from memory. The nearest
word of ours by spelling is then the wrong one (`deploy` is near `dpo`), so the words that these
tools use are looked up here first. docs/coming-from.md has the same tables with examples.

    COMMANDS   a command as `swift`, `trl` or `llamafactory-cli` has it
    KEYS       a flag (`--lora_rank`) or a key of a YAML file or of Hydra, without its dashes
"""

from __future__ import annotations

GUIDE = "see docs/coming-from.md"

_ADAPTERS = "no adapters (LoRA) yet: every parameter is trained, or frozen by model.freeze"
_NO_LAUNCHER = "no launcher is needed: learner.ranks says how many processes train"
_ENGINES = "rollout workers start with the run: set rollout.workers"
_ROWS_A_STEP = (
    "write stages.NAME.prompts_per_step, the rows of one optimizer step over all devices; "
    "memory is learner.tokens_per_microbatch"
)

COMMANDS: dict[str, str] = {
    "train": "write `plumbline run RECIPE`, or one stage: `plumbline sft`, `dpo`, `kto`, `grpo`",
    "rlhf": "write the algorithm itself: `plumbline dpo`, `kto` or `grpo`",
    "pt": "there is no pretraining stage yet; `plumbline sft` trains on answers",
    "pretrain": "there is no pretraining stage yet; `plumbline sft` trains on answers",
    "deploy": "for now `vllm serve CHECKPOINT`: a checkpoint is a plain Hugging Face folder",
    "serve": "for now `vllm serve CHECKPOINT`: a checkpoint is a plain Hugging Face folder",
    "vllm-serve": "not needed: a run starts its own engines and sends them the weights",
    "rollout": "not needed: a run starts its own engines and sends them the weights",
    "infer": "for now `vllm serve CHECKPOINT` and a request; `plumbline eval` asks benchmarks",
    "chat": "for now `vllm serve CHECKPOINT` and a request; `plumbline eval` asks benchmarks",
    "export": "not needed: a checkpoint is a plain Hugging Face folder; no quantising yet",
    "merge-lora": "nothing to merge: a checkpoint holds the whole model",
    "merge": "nothing to merge: a checkpoint holds the whole model",
    "quantize": "not there yet: the tools of vLLM read the checkpoint as it is",
    "evaluate": "write `plumbline eval MODEL --benchmark mme=PATH --out RUN`",
    "web-ui": "not there yet: `plumbline report RUN --serve` shows a run while it continues",
    "webui": "not there yet: `plumbline report RUN --serve` shows a run while it continues",
    "ui": "not there yet: `plumbline report RUN --serve` shows a run while it continues",
    "app": "not there yet: `plumbline report RUN --serve` shows a run while it continues",
    "reward": "there is no reward-model stage yet; rewards are functions, `--reward NAME`",
    "rm": "there is no reward-model stage yet; rewards are functions, `--reward NAME`",
    "ppo": "there is no value model yet: `plumbline grpo` compares the answers of one prompt",
    "rloo": "write `plumbline grpo` with `--set stages.grpo.algorithm.scale=none`",
    "orpo": "not there yet: `plumbline dpo` learns from the same rows",
    "simpo": "not there yet: `plumbline dpo` learns from the same rows",
    "cpo": "not there yet: `plumbline dpo` learns from the same rows",
    "env": "write `plumbline doctor`",
    "launch": _NO_LAUNCHER,
    "resume": "write `plumbline run RECIPE --resume`",
}

KEYS: dict[str, str] = {
    # adapters and quantised bases
    **dict.fromkeys(
        (
            *("lora_rank", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
            *("target_modules", "target_regex", "lora_target", "use_peft", "use_dora"),
            *("train_type", "tuner_type", "finetuning_type", "adapters", "adapter_name_or_path"),
            *("load_in_4bit", "load_in_8bit", "quant_bits", "quantization_bit", "quant_method"),
        ),
        _ADAPTERS,
    ),
    "freeze_vit": "write model.freeze: [vision]",
    "freeze_vision_tower": "write model.freeze: [vision]",
    "freeze_aligner": "write model.freeze: [projector]",
    # the model and its data
    "model_name_or_path": "write --model, or model.path",
    "model_id_or_path": "write --model, or model.path",
    "model_type": "not needed: the family is read from the model's config.json",
    "template": "not needed: the chat template is the model's own",
    "dataset": "write --data, or stages.NAME.data",
    "dataset_name": "write --data, or stages.NAME.data",
    "dataset_path": "write --data, or stages.NAME.data",
    "train_file": "write --data, or stages.NAME.data",
    "train_files": "write --data, or stages.NAME.data",
    "val_files": "write evals.benchmarks: a run evaluates after every stage",
    "val_dataset": "write evals.benchmarks: a run evaluates after every stage",
    "eval_dataset": "write --benchmark name=path, or evals.benchmarks",
    "output_dir": "write --out, or run.root and run.name",
    "default_local_dir": "write --out, or run.root and run.name",
    "experiment_name": "write run.name",
    # the optimizer and the schedule
    "learning_rate": "write --lr, or stages.NAME.lr",
    "num_train_epochs": "write --epochs, or stages.NAME.epochs",
    "total_epochs": "write --epochs, or stages.NAME.epochs",
    "max_steps": "write --steps, or stages.NAME.steps",
    "total_training_steps": "write --steps, or stages.NAME.steps",
    "lr_scheduler_type": "write stages.NAME.schedule: linear, cosine or constant",
    "adam_beta1": "write stages.NAME.betas: [0.9, 0.999]",
    "adam_beta2": "write stages.NAME.betas: [0.9, 0.999]",
    **dict.fromkeys(
        (
            *("per_device_train_batch_size", "gradient_accumulation_steps", "train_batch_size"),
            *("batch_size", "global_batch_size", "generation_batch_size"),
        ),
        _ROWS_A_STEP,
    ),
    "ppo_micro_batch_size_per_gpu": "write learner.tokens_per_microbatch, in tokens",
    "micro_batch_size": "write learner.tokens_per_microbatch, in tokens",
    "gradient_checkpointing": "not there yet: lower learner.tokens_per_microbatch to save memory",
    "packing": "not needed: rows are always packed into micro-batches, and never see one another",
    "bf16": "write learner.dtype: bfloat16",
    "fp16": "write learner.dtype: float16",
    "torch_dtype": "write learner.dtype and rollout.dtype",
    "deepspeed": "write learner.zero: 0, 1, 2 or 3",
    "fsdp": "the learner is DeepSpeed's: write learner.zero: 3",
    "accelerate_config": "write learner.ranks and learner.zero",
    "nproc_per_node": "write learner.ranks",
    "n_gpus_per_node": "write learner.ranks and rollout.workers",
    "nnodes": "join a cluster by runtime.address",
    # lengths and images
    "max_length": "write rollout.max_model_len; a longer row is an error, never cut",
    "cutoff_len": "write rollout.max_model_len; a longer row is an error, never cut",
    "max_prompt_length": "write rollout.max_model_len; a longer prompt is an error, never cut",
    "max_completion_length": "write rollout.max_new_tokens",
    "max_response_length": "write rollout.max_new_tokens",
    "image_max_pixels": "write --max-pixels, or model.max_pixels",
    # preferences and rewards
    "rlhf_type": "write the algorithm itself: `plumbline dpo`, `kto` or `grpo`",
    "loss_type": "write algorithm.variant (dpo) or algorithm.normalise (grpo)",
    "reward_funcs": "write --reward NAME, or stages.NAME.rewards",
    "reward_weights": "write stages.NAME.rewards: [{name: exact, weight: 1.0}]",
    "reward_model": "there is no reward model yet: a reward is a function, stages.NAME.rewards",
    "custom_reward_function": "write stages.NAME.rewards: [./file.py:function]",
    "external_plugins": "write the file in the recipe: ./file.py:name",
    "ref_model": "not needed: the reference is the stage's parent",
    "precompute_ref_log_probs": "not needed: an offline stage always computes them once",
    "beta": "write stages.NAME.algorithm.beta, which dpo and kto have; GRPO's is algorithm.kl_coef",
    "num_generations": "write stages.NAME.algorithm.group_size",
    "epsilon": "write stages.NAME.algorithm.clip_low",
    "epsilon_high": "write stages.NAME.algorithm.clip_high",
    "cliprange": "write stages.NAME.algorithm.clip_low and clip_high",
    "kl_loss_coef": "write stages.NAME.algorithm.kl_coef",
    "kl_coeff": "write stages.NAME.algorithm.kl_coef",
    "scale_rewards": "write stages.NAME.algorithm.scale: group, batch or none",
    "mask_truncated_completions": "the default; algorithm.train_truncated: true turns it off",
    "adv_estimator": "the algorithm is chosen by name: stages.NAME.algorithm",
    "num_iterations": "write stages.NAME.updates.passes",
    "ppo_epochs": "write stages.NAME.updates.passes",
    "steps_per_generation": "write stages.NAME.updates.minibatches, one for each optimizer step",
    "ppo_mini_batch_size": "write stages.NAME.updates.minibatches, the number of mini-batches",
    "critic": "there is no value model yet",
    # engines
    "use_vllm": _ENGINES,
    "vllm_mode": _ENGINES,
    "infer_backend": _ENGINES,
    "vllm_gpu_memory_utilization": "write rollout.engine.gpu_memory_utilization",
    "vllm_tensor_parallel_size": "write rollout.engine.tensor_parallel",
    "tensor_model_parallel_size": "write rollout.engine.tensor_parallel",
    "actor_rollout_ref": "write model, rollout and learner",
    # the run
    "save_steps": "write stages.NAME.save_every",
    "save_freq": "write stages.NAME.save_every",
    "save_total_limit": "write stages.NAME.keep_last",
    "eval_steps": "write stages.NAME.eval_every",
    "test_freq": "write stages.NAME.eval_every",
    "logging_steps": "write stages.NAME.log_every",
    "load_best_model_at_end": "write stages.NAME.keep_best",
    "resume_from_checkpoint": "write --resume: the newest whole checkpoint is found",
    "resume_mode": "write --resume: the newest whole checkpoint is found",
    "report_to": "metrics go to metrics.jsonl and TensorBoard: run.tensorboard",
    "trainer": "write run, learner and rollout",
}


def advice_for_command(word: str) -> str:
    """What to write instead of another tool's command; "" for a word that no tool has.

    >>> advice_for_command("env")
    'write `plumbline doctor` (see docs/coming-from.md)'
    """
    found = COMMANDS.get(word.lower().replace("_", "-"), "")
    return f"{found} ({GUIDE})" if found else ""


def advice_for_key(word: str) -> str:
    """What to write instead of another tool's flag or key; "" for a word that no tool has.

    A dotted key of verl is looked up by its last part, then by its first.

    >>> advice_for_key("--save-steps")
    'write stages.NAME.save_every (see docs/coming-from.md)'
    >>> advice_for_key("actor_rollout_ref.actor.kl_loss_coef")
    'write stages.NAME.algorithm.kl_coef (see docs/coming-from.md)'
    """
    parts = word.lstrip("-").partition("=")[0].replace("-", "_").lower().split(".")
    found = KEYS.get(parts[-1]) or KEYS.get(parts[0], "")
    return f"{found} ({GUIDE})" if found else ""
