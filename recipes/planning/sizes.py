"""Sizes that follow from a model's config.json and a recipe, without weights: parameters, bytes of
a publish, and memory by owner.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.schema.kinds import AnyStage
from recipes.schema.recipe import Recipe
from recipes.schema.train_stage import TrainStage
from rl.errors import ModelError

GIB = 2**30
# DeepSpeed's defaults (elements), which rl/learners/engine.py leaves as they are.
# Source: DeepSpeed, deepspeed/runtime/zero/config.py.
BUCKET = 5e8  # reduce_bucket_size, allgather_bucket_size
LIVE = 1e9  # stage3_max_live_parameters
# CUDA context, NCCL and library kernels of one process. `unverified`: a round figure.
PROCESS = 1.0 * GIB
# What vLLM needs beside weights and cache while it runs a batch. `unverified`: a round figure.
IPC_BUFFER = GIB  # vLLM's packed buffer


@dataclass(frozen=True)
class Stack:
    """A stack of equal layers: a text model's, or a vision tower's.

    `hidden` is the width between layers, `inner` the MLP's, `query` and `key` those of all heads
    together.
    """

    layers: int
    hidden: int
    query: int
    key: int
    inner: int
    is_gated: bool
    has_head_norms: bool

    def kept(self, width: int) -> float:
        """Bytes that autograd keeps for one token over all layers; an element has `width` bytes.

        A layer keeps the inputs and outputs of its norms and projections: 8 x hidden (norms also
        in float32), 3 x query and 3 x key (before and after rotation, and the attention's), and
        of the MLP 4 x inner where it is gated, else 2 x inner; norms of heads keep a float32 copy
        and their output. Attention scores are not kept (SDPA computes them again).
        Source: counted as in arXiv 2205.05198 section 4.1; held to what autograd keeps by
        tests/recipes/test_sizes.py.
        """
        elements = 8 * self.hidden + 3 * (self.query + self.key)
        elements += (4 if self.is_gated else 2) * self.inner
        norms = (self.query + self.key) * (4 + width) if self.has_head_norms else 0
        return float(self.layers * (elements * width + norms))


@dataclass(frozen=True)
class Architecture:
    """A model's size, from its config.json. `num_weights` counts the tensors of its file;
    `patches_per_token` patches of the vision tower become one token of the text model.
    """

    parameters: int
    vision_parameters: int
    trained: int
    num_weights: int
    text: Stack
    vision: Stack | None
    is_vision_trained: bool
    pixels_per_token: int
    patches_per_token: int


def architecture(recipe: Recipe) -> Architecture:
    """The size of a recipe's model, which is made without weights.

    Raises: ModelError if config.json is missing or makes no model.
    """
    from rl.learners.weights import Weights
    from rl.models.load import empty_model, family_of, freeze

    path = recipe.model.path
    model = empty_model(path, recipe.learner.dtype)
    named = dict(model.named_parameters())
    prefixes = family_of(path).parts.get("vision", ())
    in_tower = [p for n, p in named.items() if prefixes and n.startswith(tuple(prefixes))]
    freeze(model, family_of(path), recipe.model.freeze)
    vision = getattr(model.config, "vision_config", None)
    merge = int(getattr(vision, "spatial_merge_size", 1) or 1)
    patch = int(getattr(vision, "patch_size", 1) or 1)
    tower = [n for n in named if prefixes and n.startswith(tuple(prefixes))]
    return Architecture(
        parameters=sum(p.numel() for p in named.values()),
        vision_parameters=sum(p.numel() for p in in_tower),
        trained=sum(p.numel() for p in named.values() if p.requires_grad),
        num_weights=len(Weights(model, lambda _: nullcontext()).infos),
        text=_stack(model.config.get_text_config(), [n for n in named if n not in tower]),
        vision=None if vision is None else _stack(vision, tower),
        is_vision_trained="vision" not in recipe.model.freeze,
        pixels_per_token=(patch * merge) ** 2,
        patches_per_token=merge**2,
    )


def _stack(config: Any, names: list[str]) -> Stack:
    """The layers of a text model or a vision tower, from its part of config.json."""
    # Qwen2-VL's tower calls its width embed_dim, and its output's width hidden_size.
    hidden = int(_first(config, "embed_dim", "hidden_size"))
    heads = int(_first(config, "num_attention_heads", "num_heads"))
    head_width = int(getattr(config, "head_dim", None) or hidden // heads)
    inner = getattr(config, "intermediate_size", None)
    return Stack(
        layers=int(_first(config, "num_hidden_layers", "depth")),
        hidden=hidden,
        query=heads * head_width,
        key=int(getattr(config, "num_key_value_heads", None) or heads) * head_width,
        inner=int(inner if inner is not None else hidden * _first(config, "mlp_ratio")),
        is_gated=any("gate_proj" in name for name in names),
        has_head_norms=any("q_norm" in name for name in names),
    )


def _first(config: Any, *keys: str) -> Any:
    """The first of these keys that the configuration has. Raises: ModelError if it has none."""
    for key in keys:
        if getattr(config, key, None) is not None:
            return getattr(config, key)
    raise ModelError(
        f"{config.model_type} has no {' or '.join(keys)}",
        where="config.json",
        expected="the widths and the number of layers under one of these names",
        do="name the model's own key in recipes/planning/sizes.py",
    )


def width(dtype: str) -> int:
    """Bytes of one element.

    >>> width("float32"), width("bfloat16")
    (4, 2)
    """
    return 4 if dtype == "float32" else 2


def publish_bytes(recipe: Recipe, arch: Architecture) -> float:
    """One publish: every weight once, in the learner's dtype."""
    return float(arch.parameters * width(recipe.learner.dtype))


def needs_copy(stage: AnyStage) -> bool:
    """Whether a stage holds a second, frozen model for reference log-probs.

    An offline stage computes them once for all rows. An online stage, or one with mismatched
    answers, needs them for texts that are not known before the step.
    """
    return isinstance(stage, TrainStage) and bool(stage.algorithm.needs.frozen_reference)


def longest_tree(recipe: Recipe, stage: TrainStage) -> int:
    """The most tokens that a tree can have.

    A prompt and one answer have at most `max_model_len` together; a group's other answers, or the
    rejected one of a pair, come on top.
    """
    limit = stage.max_new_tokens or recipe.rollout.max_new_tokens
    longest = recipe.rollout.max_model_len
    if stage.reading == "group":
        return longest + (stage.answers_per_prompt - 1) * limit
    return 2 * longest if stage.reading == "preference" else longest


def learner_bytes(recipe: Recipe, arch: Architecture) -> dict[str, float]:
    """Bytes that one learner rank holds all the time, by owner.

    Mixed precision: 2 bytes for a weight, 2 for its gradient, 12 for AdamW (float32 master and two
    moments), divided among the ranks from ZeRO 3, 2 and 1 on.
    Source: arXiv 1910.02054 section 5 (P_os, P_os+g, P_os+g+p).
    """
    learner, size = recipe.learner, width(recipe.learner.dtype)
    over = {stage: learner.ranks if learner.zero >= stage else 1 for stage in (1, 2, 3)}
    state = 8 if size == 4 else 12
    return {
        "weights": arch.parameters * size / over[3],
        "gradients": arch.trained * size / over[2],
        "AdamW": arch.trained * state / over[1],
        "reference copy": float(
            arch.parameters * size if any(needs_copy(s) for s in recipe.stages) else 0
        ),
    }


def forward_bytes(recipe: Recipe, arch: Architecture) -> float:
    """Bytes of the plain forward pass that takes a learner's place where nothing trains: the
    weights, and one chunk of logits. It ends before the first question."""
    from rl.models.forward import CHUNK_ELEMENTS

    return float(arch.parameters * width(recipe.learner.dtype) + CHUNK_ELEMENTS * 8)


def passing_bytes(recipe: Recipe, arch: Architecture) -> dict[str, float]:
    """Bytes that one rank holds for a while, by what it does; one of these at a time.

    - `a pass`: what autograd keeps of a micro-batch (as if all of its tokens were an image's), one
      chunk of logits, DeepSpeed's buckets, and at ZeRO-3 the weights that are gathered for it.
    - `a gathering`: all weights, which at ZeRO-3 every rank holds when a stage begins.
    - `a publish` from GPU to GPU: one buffer, and the blocks that fill it.
    """
    from rl.models.forward import CHUNK_ELEMENTS

    learner, size = recipe.learner, width(recipe.learner.dtype)
    trees = [longest_tree(recipe, s) for s in recipe.stages if isinstance(s, TrainStage)]
    tokens = max([learner.tokens_per_microbatch, *trees])
    kept = tokens * arch.text.kept(size)
    if arch.vision is not None and arch.is_vision_trained:
        kept += tokens * arch.patches_per_token * arch.vision.kept(size)
    kept += CHUNK_ELEMENTS * (8 + size)
    whole = float(arch.parameters * size)
    buckets = min(BUCKET, arch.trained) * size if learner.ranks > 1 else 0.0
    live = min(LIVE * size, whole) if learner.zero == 3 else 0.0
    buffer = IPC_BUFFER if recipe.rollout.engine.way_in != "file" else 0
    return {
        "a pass": kept + buckets + live,
        "a gathering": whole if learner.zero == 3 else 0.0,
        "a publish": 2.0 * buffer,
    }


def engine_bytes(recipe: Recipe, arch: Architecture) -> dict[str, float]:
    """Bytes of one engine on one GPU, by owner, as the engine estimates them: on a GPU its share of
    the weights, its work space, and the rest of its part of the GPU for keys and values.
    """
    rollout, gib = recipe.rollout, recipe.hardware.gpu_gib
    found: dict[str, float] = rollout.engine.memory(
        arch.parameters * width(rollout.dtype), gib if rollout.gpus else None
    )
    return found


def cached_tokens(recipe: Recipe, arch: Architecture) -> float:
    """How many tokens' keys and values an engine can hold: 2 x layers x key width elements each."""
    rollout = recipe.rollout
    token = 2 * arch.text.layers * arch.text.key * width(rollout.dtype) / rollout.engine.num_gpus
    return float(engine_bytes(recipe, arch)["KV cache"] / token)


def host_bytes(recipe: Recipe, arch: Architecture) -> float:
    """CPU memory of one machine while the learner starts: each rank reads the whole model. With
    `offload`, AdamW's state is there too, and stays.
    """
    learner = recipe.learner
    ranks = min(learner.ranks, recipe.hardware.gpus or learner.ranks)
    loading = ranks * arch.parameters * width(learner.dtype)
    states = learner_bytes(recipe, arch)["AdamW"] * ranks if learner.offload else 0.0
    return float(loading + states)


def is_config_alone(model: Path) -> bool:
    """Whether a folder has a config.json and no weights: enough for `plan`, not for a run."""
    return (model / "config.json").is_file() and not has_weights(model)


def has_weights(model: Path) -> bool:
    """Whether a folder has weights (*.safetensors)."""
    return model.is_dir() and any(model.glob("*.safetensors"))
