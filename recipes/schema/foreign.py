"""Words of ms-swift, TRL and verl, and what to write here instead.

A user who comes from one of these tools types its commands, flags and keys from memory. The nearest
word of ours by spelling is then the wrong one (`deploy` is near `dpo`), so the words that these
tools use are looked up here first. docs/coming-from.md has the same tables with examples.

    COMMANDS   a command as `swift`, `trl` or `llamafactory-cli` has it
    KEYS       a flag (`--lora_rank`) or a key of a YAML file or of Hydra, without its dashes
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GUIDE = "see docs/coming-from.md"

_ADAPTERS = "no adapters (LoRA) yet: every parameter is trained, or frozen by model.freeze"
_NO_LAUNCHER = "no launcher is needed: learner.ranks says how many processes train"
_ENGINES = "rollout workers start with the run: write <rollout.workers=1>"
_ROWS_A_STEP = (
    "write <stages.NAME.prompts_per_step>, the rows of one optimizer step over all devices; "
    "memory is <learner.tokens_per_microbatch>"
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

# What the user may write is marked as <--flag key=value>; flag and value may be left out. It is
# shown as `key: value` for a recipe, and for a command line as `--set key=value`, or as the flag if
# the command has it.
KEYS: dict[str, str] = {
    # adapters and quantised bases
    **dict.fromkeys(
        (
            *("lora_rank", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
            *("target_modules", "target_regex", "lora_target", "use_peft", "use_dora"),
            *("train_type", "tuner_type", "finetuning_type", "adapters", "adapter_name_or_path"),
            *("load_in_4bit", "load_in_8bit", "quant_bits", "quantization_bit", "quant_method"),
            *("lora_path", "lora_adapter_path", "use_rslora", "modules_to_save"),
        ),
        _ADAPTERS,
    ),
    **dict.fromkeys(("freeze_vit", "freeze_vision_tower"), "write <model.freeze=[vision]>"),
    **dict.fromkeys(
        ("freeze_aligner", "freeze_multi_modal_projector"), "write <model.freeze=[projector]>"
    ),
    **dict.fromkeys(
        ("freeze_llm", "freeze_language_model"),
        "not there yet: model.freeze takes vision and projector",
    ),
    **dict.fromkeys(
        ("vit_lr", "aligner_lr"),
        "not there yet: all trained parts have one rate",
    ),
    # the model and its data
    **dict.fromkeys(("model_name_or_path", "model_id_or_path"), "write <--model model.path>"),
    **dict.fromkeys(
        ("model_revision", "revision"),
        "fetch that revision into a folder, and write <--model model.path>",
    ),
    "model_type": "not needed: the family is read from the model's config.json",
    **dict.fromkeys(
        ("template", "chat_template", "chat_template_path"),
        "not needed: the chat template is the model's own",
    ),
    **dict.fromkeys(
        ("system", "default_system"), "write a system turn into the `messages` of the rows"
    ),
    "trust_remote_code": "not there: code of a checkpoint is never run",
    **dict.fromkeys(
        ("attn_impl", "attn_implementation", "flash_attn", "use_flash_attn"),
        "not needed: the model's family decides it, and learner.layout how answers are packed",
    ),
    **dict.fromkeys(
        ("use_liger_kernel", "use_liger", "liger_kernel", "torch_compile", "use_torch_compile"),
        "not there yet: the learner runs the model as transformers has it",
    ),
    **dict.fromkeys(
        ("dataset", "dataset_name", "dataset_path", "train_file", "train_files"),
        "write <--data stages.NAME.data=[{path: rows.jsonl}]>",
    ),
    **dict.fromkeys(
        ("val_files", "val_dataset", "split_dataset_ratio", "val_size", "dataset_test_split"),
        "a run evaluates benchmarks after every stage: write <evals.benchmarks>",
    ),
    "eval_dataset": "write <--benchmark evals.benchmarks=[{name: mme, path: data/mme}]>",
    **dict.fromkeys(
        ("dataset_num_proc", "dataloader_num_workers", "preprocessing_num_workers"),
        "not needed: the run reads rows itself, without loader processes",
    ),
    "streaming": "not there: rows are checked before the run starts, so all of them are read",
    **dict.fromkeys(
        ("shuffle", "shuffle_dataset", "dataset_shuffle", "train_dataloader_shuffle"),
        "not needed: every epoch has an order of its own, drawn from run.seed",
    ),
    "remove_unused_columns": "not needed: columns that nothing reads are left alone",
    **dict.fromkeys(
        ("columns", "image_key", "prompt_key"),
        "not needed for known row formats; else give an item of stages.NAME.data a `format`",
    ),
    **dict.fromkeys(
        ("assistant_only_loss", "completion_only_loss", "train_on_inputs"),
        "the default: only tokens of answers are trained",
    ),
    **dict.fromkeys(("output_dir", "default_local_dir"), "write <--out run.name>"),
    **dict.fromkeys(("experiment_name", "project_name", "run_name"), "write <--out run.name>"),
    "overwrite_output_dir": "write `plumbline run RECIPE --fresh`",
    **dict.fromkeys(
        ("push_to_hub", "hub_model_id", "hub_token", "hub_strategy"),
        "not there: a checkpoint is a plain Hugging Face folder, which `hf upload` sends",
    ),
    # the optimizer and the schedule
    "learning_rate": "write <--lr stages.NAME.lr>",
    **dict.fromkeys(("num_train_epochs", "total_epochs"), "write <--epochs stages.NAME.epochs>"),
    **dict.fromkeys(("max_steps", "total_training_steps"), "write <--steps stages.NAME.steps>"),
    **dict.fromkeys(
        ("lr_scheduler_type", "warmup_style"),
        "write <stages.NAME.schedule=cosine>, or linear or constant",
    ),
    **dict.fromkeys(
        ("warmup_steps", "lr_warmup_steps", "num_warmup_steps", "lr_warmup_steps_ratio"),
        "write <stages.NAME.warmup_ratio=0.05>, a share of the updates",
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), "write <stages.NAME.betas=[0.9, 0.999]>"),
    **dict.fromkeys(
        ("optim", "optimizer", "adam_epsilon"),
        "not there yet: the optimizer is AdamW with epsilon 1e-8",
    ),
    "grad_clip": "write <stages.NAME.max_grad_norm=1.0>",
    "neftune_noise_alpha": "not there yet",
    "data_seed": "write <run.seed=0>",
    **dict.fromkeys(
        (
            *("per_device_train_batch_size", "gradient_accumulation_steps", "train_batch_size"),
            *("batch_size", "global_batch_size", "generation_batch_size"),
            *("gradient_accumulation", "per_device_batch_size"),
        ),
        _ROWS_A_STEP,
    ),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "eval_batch_size", "val_batch_size"),
        "not needed: an evaluation is one queue, of which an engine takes rollout.max_num_seqs",
    ),
    **dict.fromkeys(
        (
            *("ppo_micro_batch_size_per_gpu", "micro_batch_size", "micro_batch_size_per_gpu"),
            *("log_prob_micro_batch_size_per_gpu", "ppo_max_token_len_per_gpu", "use_dynamic_bsz"),
        ),
        "write <learner.tokens_per_microbatch>, in tokens",
    ),
    **dict.fromkeys(
        ("gradient_checkpointing", "enable_gradient_checkpointing"),
        "not there yet: lower <learner.tokens_per_microbatch> to save memory",
    ),
    **dict.fromkeys(
        ("packing", "padding_free", "use_remove_padding", "group_by_length"),
        "not needed: rows are always packed into micro-batches, and never see one another",
    ),
    "bf16": "write <learner.dtype=bfloat16>",
    "fp16": "write <learner.dtype=float16>",
    "torch_dtype": "write <learner.dtype> and <rollout.dtype>",
    "deepspeed": "write <learner.zero=1>, or 0, 2 or 3",
    "fsdp": "the learner is DeepSpeed's: write <learner.zero=3>",
    **dict.fromkeys(
        ("param_offload", "optimizer_offload", "offload_optimizer"), "write <learner.offload=true>"
    ),
    **dict.fromkeys(
        ("sequence_parallel_size", "ulysses_sequence_parallel_size", "context_parallel_size"),
        "not there yet: ranks share the rows of a step, and a row is on one rank",
    ),
    "ddp_timeout": "write <learner.deadline_s=1800>",
    "accelerate_config": "write <learner.ranks> and <learner.zero>",
    "nproc_per_node": "write <learner.ranks>",
    "n_gpus_per_node": "write <learner.ranks> and <rollout.workers>",
    "nnodes": "join a cluster by <runtime.address>",
    # lengths and images
    **dict.fromkeys(
        ("max_length", "cutoff_len", "max_prompt_length", "truncation_strategy", "truncation"),
        "write <rollout.max_model_len>; a longer row is an error, never cut",
    ),
    **dict.fromkeys(
        ("max_completion_length", "max_response_length"), "write <rollout.max_new_tokens>"
    ),
    "image_max_pixels": "write <--max-pixels model.max_pixels>",
    **dict.fromkeys(
        ("min_pixels", "image_min_pixels"),
        "not there yet: the limit is model.max_pixels",
    ),
    # preferences and rewards
    "rlhf_type": "write the algorithm itself: `plumbline dpo`, `kto` or `grpo`",
    "loss_type": "write <stages.NAME.algorithm.variant> (dpo) or "
    "<stages.NAME.algorithm.normalise> (grpo)",
    **dict.fromkeys(
        ("label_smoothing", "label_smoothing_factor"),
        "dpo alone has it: write <stages.NAME.algorithm.label_smoothing=0.1>",
    ),
    "reference_free": "not there yet: dpo's other losses are algorithm.variant",
    "f_divergence_type": "not there yet: dpo's other losses are algorithm.variant",
    **dict.fromkeys(
        ("sync_ref_model", "ref_model_sync_steps", "ref_model_mixup_alpha"),
        "not there: the reference is the stage's parent from its first step to its last",
    ),
    "reward_funcs": "write <--reward stages.NAME.rewards=[exact]>",
    "reward_weights": "write <stages.NAME.rewards=[{name: exact, weight: 1.0}]>",
    **dict.fromkeys(
        ("reward_model", "reward_model_path"),
        "there is no reward model yet: a reward is a function, stages.NAME.rewards",
    ),
    **dict.fromkeys(
        ("custom_reward_function", "reward_manager"),
        "write <--reward stages.NAME.rewards=[./file.py:function]>",
    ),
    "external_plugins": "write the file in the recipe: ./file.py:name",
    "ref_model": "not needed: the reference is the stage's parent",
    "precompute_ref_log_probs": "not needed: an offline stage always computes them once",
    "beta": "dpo and kto have it: write <stages.NAME.algorithm.beta=0.1>; for GRPO write "
    "<stages.NAME.algorithm.kl_coef=0.001>",
    "num_generations": "write <stages.NAME.algorithm.group_size=8>",
    **dict.fromkeys(("epsilon", "clip_ratio_low"), "write <stages.NAME.algorithm.clip_low=0.2>"),
    **dict.fromkeys(
        ("epsilon_high", "clip_ratio_high"), "write <stages.NAME.algorithm.clip_high=0.28>"
    ),
    **dict.fromkeys(
        ("cliprange", "clip_ratio"),
        "write <stages.NAME.algorithm.clip_low=0.2> and <stages.NAME.algorithm.clip_high=0.28>",
    ),
    "clip_ratio_c": "write <stages.NAME.algorithm.delta=3.0>",
    **dict.fromkeys(
        ("kl_loss_coef", "kl_coeff", "use_kl_loss", "use_kl_in_reward"),
        "write <stages.NAME.algorithm.kl_coef=0.001>, the factor of a term of the loss",
    ),
    **dict.fromkeys(
        ("scale_rewards", "norm_adv_by_std_in_grpo"),
        "write <stages.NAME.algorithm.scale=group>, or batch or none",
    ),
    "loss_agg_mode": "write <stages.NAME.algorithm.normalise>",
    **dict.fromkeys(
        ("mask_truncated_completions", "overlong_filter"),
        "the default; <stages.NAME.algorithm.train_truncated=true> turns it off",
    ),
    **dict.fromkeys(
        ("dynamic_sample", "filter_groups"),
        "groups without signal are left out (algorithm.drop_equal_groups), not sampled again",
    ),
    "vllm_importance_sampling_correction": "write <stages.NAME.algorithm.mismatch>",
    "importance_sampling_level": "not there yet: the ratio is of single tokens",
    **dict.fromkeys(
        ("entropy_coeff", "entropy_coef", "ent_coef"), "not there yet: no loss has an entropy term"
    ),
    "adv_estimator": "the algorithm is chosen by name: stages.NAME.algorithm",
    **dict.fromkeys(("num_iterations", "ppo_epochs"), "write <stages.NAME.updates.passes=1>"),
    "steps_per_generation": "write <stages.NAME.updates.minibatches=1>, an optimizer step each",
    "ppo_mini_batch_size": "write <stages.NAME.updates.minibatches=1>, the number of mini-batches",
    "critic": "there is no value model yet",
    # engines
    **dict.fromkeys(("use_vllm", "vllm_mode", "infer_backend"), _ENGINES),
    "vllm_gpu_memory_utilization": "write <rollout.engine.gpu_memory_utilization=0.4>",
    **dict.fromkeys(
        ("vllm_tensor_parallel_size", "tensor_model_parallel_size"),
        "write <rollout.engine.tensor_parallel=1>",
    ),
    "vllm_max_model_len": "write <rollout.max_model_len>",
    **dict.fromkeys(
        ("vllm_enforce_eager", "enforce_eager"), "write <rollout.engine.enforce_eager=true>"
    ),
    "vllm_limit_mm_per_prompt": "write <rollout.max_images>",
    **dict.fromkeys(
        ("vllm_server_host", "vllm_server_port", "vllm_server_base_url"),
        "not needed: a run starts its own engines and sends them the weights",
    ),
    **dict.fromkeys(
        ("sleep_level", "vllm_enable_sleep_mode", "free_cache_engine"),
        "not there: an engine keeps its share, rollout.engine.gpu_memory_utilization",
    ),
    **dict.fromkeys(
        ("repetition_penalty", "min_p"),
        "not there yet: answers are sampled by temperature, top_p and top_k",
    ),
    "actor_rollout_ref": "write model, rollout and learner",
    # the run
    **dict.fromkeys(
        ("save_steps", "save_freq", "save_strategy"), "write <stages.NAME.save_every=100>"
    ),
    "save_total_limit": "write <stages.NAME.keep_last=2>",
    **dict.fromkeys(
        ("eval_steps", "test_freq", "eval_strategy", "evaluation_strategy"),
        "write <stages.NAME.eval_every=20>; a run also evaluates after every stage",
    ),
    **dict.fromkeys(("val_before_train", "eval_on_start"), "the default: evals.evaluate_base"),
    **dict.fromkeys(("logging_steps", "log_freq"), "write <stages.NAME.log_every=1>"),
    "log_completions": "write <stages.NAME.keep_rollouts_every=1>; the report shows the answers",
    **dict.fromkeys(
        ("load_best_model_at_end", "metric_for_best_model"), "write <stages.NAME.keep_best=true>"
    ),
    "early_stopping_patience": "write <stages.NAME.early_stop={patience: 3}>",
    **dict.fromkeys(
        ("resume_from_checkpoint", "resume_mode"),
        "write --resume: the newest whole checkpoint is found",
    ),
    **dict.fromkeys(
        ("report_to", "logger", "logging_dir"),
        "metrics go to metrics.jsonl and TensorBoard: run.tensorboard",
    ),
    "trainer": "write run, learner and rollout",
}

_OURS = re.compile(r"<(?:(?P<flag>--[\w-]+) )?(?P<key>[\w.]+)(?:=(?P<value>[^<>]*))?>")


@dataclass(frozen=True)
class CommandLine:
    """The command on whose line a word was typed: what it takes, so that an advice can be typed.

    >>> sft = CommandLine(options=("--lr", "--set"), stage="sft")
    >>> advice_for_key("--learning_rate", sft), advice_for_key("--save-steps", sft)
    ('write --lr (see docs/coming-from.md)', \
'write --set stages.sft.save_every=100 (see docs/coming-from.md)')

    options: its options. One with `--set` takes keys as `--set key=value`, another as `key=value`.
    stage: the name of the one stage that it runs; "" for a command that runs a recipe.
    """

    options: tuple[str, ...]
    stage: str = ""

    def written(self, ours: re.Match[str]) -> str:
        """How a key of ours is typed here."""
        flag, key, value = ours.group("flag", "key", "value")
        if flag in self.options:
            return str(flag)
        word = f"{key.replace('NAME', self.stage or 'NAME')}={value or '...'}"
        word = f"'{word}'" if re.search(r"[\[{ ]", word) else word  # the shell reads these itself
        return f"--set {word}" if "--set" in self.options else word


def advice_for_command(word: str) -> str:
    """What to write instead of another tool's command; "" for a word that no tool has.

    >>> advice_for_command("env")
    'write `plumbline doctor` (see docs/coming-from.md)'
    """
    found = COMMANDS.get(word.lower().replace("_", "-"), "")
    return f"{found} ({GUIDE})" if found else ""


def advice_for_key(word: str, at: CommandLine | None = None) -> str:
    """What to write instead of another tool's flag or key; "" for a word that no tool has.

    word: as typed. A dotted key of verl is looked up by its last part, then by its first.
    at: the command on whose line it was typed; None for a key of a recipe.

    >>> advice_for_key("warmup_steps")
    'write stages.NAME.warmup_ratio: 0.05, a share of the updates (see docs/coming-from.md)'
    >>> advice_for_key("actor_rollout_ref.actor.ppo_epochs")
    'write stages.NAME.updates.passes: 1 (see docs/coming-from.md)'
    """
    parts = word.lstrip("-").partition("=")[0].replace("-", "_").lower().split(".")
    found = KEYS.get(parts[-1]) or KEYS.get(parts[0], "")
    found = _OURS.sub(_in_recipe if at is None else at.written, found)
    return f"{found} ({GUIDE})" if found else ""


def _in_recipe(ours: re.Match[str]) -> str:
    key, value = ours.group("key", "value")
    return f"{key}: {value}" if value else str(key)
