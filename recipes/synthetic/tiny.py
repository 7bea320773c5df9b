"""Tiny random checkpoints of real architectures, with tokenizer, chat template and processor.

Made offline. Only the sizes are tiny: classes, files and weight names are those of the hub's
checkpoints, so transformers and vLLM open the folder as they would open the real model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.synthetic.tiny_tokenizers import (
    LLAVA_TOKENS,
    MAX_POSITIONS,
    VICUNA,
    byte_tokenizer,
    chat_template,
    chatml_tokenizer,
)
from rl.errors import ConfigError

IMAGE_SIDE = 64  # the scenes' pictures; LLaVA's vision tower takes exactly this size


@dataclass(frozen=True)
class Size:
    """Widths and depths of a tiny model. `head_dim`: vLLM's CPU attention takes 32 or more.

    `is_learner`: the model is meant to be trained. Its weights start with a standard deviation of
    1 / sqrt(width), with which it learns three times faster than with the 0.02 that suits wide
    models. Random weights of that size magnify rounding, so tests of exactness use 0.02.
    """

    hidden: int
    layers: int
    vision_hidden: int
    vision_layers: int
    patch: int = 8
    vocab: int = 768
    head_dim: int = 32
    mlp_ratio: int = 2
    is_learner: bool = False

    def std(self, width: int) -> float:
        """Standard deviation of fresh weights."""
        return width**-0.5 if self.is_learner else 0.02


SIZES = {
    "tiny": Size(hidden=64, layers=2, vision_hidden=64, vision_layers=2),  # tests
    # Learns the scenes in minutes: a patch of 16 makes four image tokens of a scene, one a quarter.
    "small": Size(
        hidden=128, layers=3, vision_hidden=128, vision_layers=2, patch=16, is_learner=True
    ),
}

# -- families


def _text_config(size: Size, tokenizer: Any, rope: dict[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": size.hidden,
        "intermediate_size": size.mlp_ratio * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.hidden // size.head_dim,
        "num_key_value_heads": max(1, size.hidden // size.head_dim // 2),
        "head_dim": size.head_dim,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
        "initializer_range": size.std(size.hidden),
        "rope_parameters": {"rope_theta": 10000.0, **rope},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _qwen_vision_ids(tokenizer: Any) -> dict[str, int]:
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {
            "image": "image_pad",
            "video": "video_pad",
            "vision_start": "vision_start",
            "vision_end": "vision_end",
        }.items()
    }


def _save_qwen_processor(out: Path, tokenizer: Any, size: Size) -> None:
    from transformers import AutoProcessor, Qwen2VLImageProcessor

    tokenizer.save_pretrained(out)
    Qwen2VLImageProcessor(
        patch_size=size.patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": (2 * size.patch) ** 2, "longest_edge": 16384},
    ).save_pretrained(out)
    AutoProcessor.from_pretrained(out).save_pretrained(out)


def _qwen3_vl(out: Path, size: Size) -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer = chatml_tokenizer(size.vocab, vision=True)
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=_text_config(size, tokenizer, rope),
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.mlp_ratio * size.vision_hidden,
            "num_heads": size.vision_hidden // size.head_dim,
            "patch_size": size.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": size.hidden,
            "num_position_embeddings": (128 // size.patch) ** 2,
            "deepstack_visual_indexes": [size.vision_layers - 1],
            "initializer_range": size.std(size.vision_hidden),
        },
        tie_word_embeddings=True,
        **_qwen_vision_ids(tokenizer),
    )
    model = Qwen3VLForConditionalGeneration(config)
    if size.is_learner:
        _show_places(model.model.visual)
    model.save_pretrained(out)
    _save_qwen_processor(out, tokenizer, size)
    return tokenizer


def _show_places(visual: Any) -> None:
    """Makes position embeddings as large as pixel embeddings. From 0.02 on, learning where things
    are takes hours.
    """
    import torch

    torch.nn.init.normal_(visual.pos_embed.weight, std=1.0)
    kernel = visual.patch_embed.proj.weight
    torch.nn.init.normal_(kernel, std=kernel[0].numel() ** -0.5)


def _qwen2_vl(out: Path, size: Size) -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer = chatml_tokenizer(size.vocab, vision=True)
    text = _text_config(size, tokenizer, {"rope_type": "default", "mrope_section": [6, 5, 5]})
    text.pop("head_dim")  # as wide as hidden_size / heads
    config = Qwen2VLConfig(
        text_config=text,
        vision_config={
            "depth": size.vision_layers,
            "embed_dim": size.vision_hidden,
            "mlp_ratio": size.mlp_ratio,
            "num_heads": size.vision_hidden // size.head_dim,
            "patch_size": size.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "hidden_size": size.hidden,  # of the tower's output; its own width is embed_dim
            "initializer_range": size.std(size.vision_hidden),
        },
        tie_word_embeddings=True,
        **_qwen_vision_ids(tokenizer),
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(out)
    _save_qwen_processor(out, tokenizer, size)
    return tokenizer


def _qwen2_5_vl(out: Path, size: Size) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = chatml_tokenizer(size.vocab, vision=True)
    text = _text_config(size, tokenizer, {"rope_type": "default", "mrope_section": [6, 5, 5]})
    text.pop("head_dim")  # as wide as hidden_size / heads
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.mlp_ratio * size.vision_hidden,
            "num_heads": size.vision_hidden // size.head_dim,
            "patch_size": size.patch,
            "spatial_patch_size": size.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": size.hidden,
            "window_size": 4 * size.patch,  # windows of 2 x 2 merged patches: smaller than a scene
            "fullatt_block_indexes": [size.vision_layers - 1],
            "tokens_per_second": 2,
        },
        tie_word_embeddings=True,
        **_qwen_vision_ids(tokenizer),
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.save_pretrained(out)
    _save_qwen_processor(out, tokenizer, size)
    return tokenizer


def _qwen3(out: Path, size: Size) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return _save_text_model(out, size, Qwen3Config, Qwen3ForCausalLM)


def _qwen2(out: Path, size: Size) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return _save_text_model(out, size, Qwen2Config, Qwen2ForCausalLM, head_dim=None)


def _llama(out: Path, size: Size) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    # An output head of its own, as Llama-3-8B has it.
    return _save_text_model(out, size, LlamaConfig, LlamaForCausalLM, tie_word_embeddings=False)


def _save_text_model(out: Path, size: Size, config: Any, model: Any, **changes: Any) -> Any:
    """Writes a text-only model and its tokenizer. A change to None leaves the key out."""
    tokenizer = chatml_tokenizer(size.vocab, vision=False)
    values = {**_text_config(size, tokenizer, {"rope_type": "default"}), **changes}
    kept = {key: value for key, value in values.items() if key not in changes or value is not None}
    model(config(**kept)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return tokenizer


def _llava(out: Path, size: Size) -> Any:
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = byte_tokenizer(
        LLAVA_TOKENS,
        chat_template(VICUNA, "<image>\n"),
        size.vocab,
        extra_special_tokens={"image_token": "<image>"},
        **names,
    )
    text = {"model_type": "llama", **_text_config(size, tokenizer, {"rope_type": "default"})}
    text["tie_word_embeddings"] = False
    patch = 2 * size.patch  # no merging in LLaVA: as many image tokens as the others
    config = LlavaConfig(
        text_config=text,
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.mlp_ratio * size.vision_hidden,
            "num_hidden_layers": size.vision_layers + 1,  # features come from the last but one
            "num_attention_heads": size.vision_hidden // size.head_dim,
            "image_size": IMAGE_SIDE,
            "patch_size": patch,
            "projection_dim": size.hidden,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE_SIDE // patch) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.save_pretrained(out)
    _rename_to_hub(out / "model.safetensors", _llava_hub_name)
    square = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": IMAGE_SIDE}, crop_size=square),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(out)
    return tokenizer


def _llava_hub_name(name: str) -> str:
    """LLaVA-1.5's weight name on the hub.

    `save_pretrained` of a model built from a config leaves one level out.
    """
    head, _, rest = name.partition("vision_tower.")
    if rest and not rest.startswith("vision_model."):
        return f"{head}vision_tower.vision_model.{rest}"
    return name


def _rename_to_hub(path: Path, rename: Callable[[str], str]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    save_file({rename(name): w for name, w in weights.items()}, path, metadata={"format": "pt"})


PACKAGE = "rl.models.families"
# config.json's model_type -> what writes a checkpoint of it: every type that rl/models/families
# registers, and what `plumbline tiny --family` takes.
FAMILIES: dict[str, Callable[[Path, Size], Any]] = {
    "qwen3_vl": _qwen3_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "llava": _llava,
    "qwen3": _qwen3,
    "qwen2": _qwen2,
    "llama": _llama,
}
MADE_HERE = ("llava", "qwen3", "qwen_vl")  # modules of PACKAGE whose checkpoints are made here


def make_tiny(family: str, out: Path, *, seed: int = 0, size: str = "tiny") -> Path:
    """Writes a tiny random float32 checkpoint that opens like the hub's; returns its folder.

    `family` is a key of FAMILIES, or the file's name of a family that was added to
    `rl/models/families` and writes its own. Raises: ConfigError for an unknown family or size.

        path = make_tiny("qwen3_vl", Path("models/tiny"), seed=0)
        model, processor = load_model(path), load_processor(path)
    """
    from rl.plugins import find, names

    added = tuple(name for name in names(PACKAGE) if name not in MADE_HERE)
    _check("family", family, (*FAMILIES, *added))
    _check("size", size, SIZES)
    import torch
    from transformers import GenerationConfig

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family in added:
            find(PACKAGE, family).write_tiny(out)
            return out
        tokenizer = FAMILIES[family](out, SIZES[size])
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(out)
    return out


def _check(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConfigError(
            f"unknown {what} {value!r}",
            expected=f"one of {', '.join(known)}",
            do="give one of these",
        )
