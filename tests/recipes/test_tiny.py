"""Tiny checkpoints: whole folders, templates with answer spans, and engines that agree on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from recipes.synthetic.tiny import FAMILIES, MADE_HERE, SIZES, make_tiny
from rl.errors import ConfigError
from rl.models.load import families
from tests.rl.models.trees import MODEL_TYPES, TEXT_ONLY


@pytest.fixture(params=sorted(MODEL_TYPES))
def checkpoint(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Each family's name and folder."""
    return request.param, request.getfixturevalue(MODEL_TYPES[request.param])


def _processor(path: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(path)


def test_every_registered_model_type_is_made_and_has_a_fixture() -> None:
    made = {name for name, family in families().items() if family.name in MADE_HERE}
    assert set(MODEL_TYPES) == set(FAMILIES) == made


def test_the_folder_holds_all_that_a_checkpoint_needs(checkpoint: tuple[str, Path]) -> None:
    family, path = checkpoint
    files = {file.name for file in path.iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json"} <= files
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= files
    assert MODEL_TYPES[family] in TEXT_ONLY or "processor_config.json" in files
    config = json.loads((path / "generation_config.json").read_text())
    tokenizer = getattr(_processor(path), "tokenizer", _processor(path))
    assert config["eos_token_id"] == tokenizer.eos_token_id
    assert config["pad_token_id"] == tokenizer.pad_token_id


def test_the_generation_span_is_the_answer_and_its_end_token(checkpoint: tuple[str, Path]) -> None:
    processor = _processor(checkpoint[1])
    tokenizer = getattr(processor, "tokenizer", processor)
    turns = [("user", "What color?"), ("assistant", "red"), ("user", "And?"), ("assistant", "blue")]
    messages = [{"role": role, "content": [{"type": "text", "text": t}]} for role, t in turns]
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    trained = tokenizer.decode([token for token, mask in pairs if mask])
    end = tokenizer.eos_token
    assert trained.replace(" ", "") == f"red{end}blue{end}"


def test_an_answer_begins_where_the_generation_prompt_ends(checkpoint: tuple[str, Path]) -> None:
    processor = _processor(checkpoint[1])
    tokenizer = getattr(processor, "tokenizer", processor)
    messages = [{"role": "user", "content": "Is it red?"}, {"role": "assistant", "content": "Yes"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert whole.startswith(prompt)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids[: len(head)] == head
    assert len(head) < len(ids) <= len(head) + 4


def test_string_and_block_content_render_alike(checkpoint: tuple[str, Path]) -> None:
    processor = _processor(checkpoint[1])
    render = [
        processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        for content in ("How many?", [{"type": "text", "text": "How many?"}])
    ]
    assert render[0] == render[1]


def test_the_tokenizer_writes_any_text_and_the_scenes_words_in_one_token(
    checkpoint: tuple[str, Path],
) -> None:
    processor = _processor(checkpoint[1])
    tokenizer = getattr(processor, "tokenizer", processor)
    for text in ("zebra crossing", "naïve 北京 😀", 'say "x"\n\tthen'):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    for word in ("red", "circle", "Yes", "No", "7", "cat"):
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
    config = json.loads((checkpoint[1] / "config.json").read_text())
    assert config.get("text_config", config)["vocab_size"] >= len(tokenizer)


def test_llava_has_the_hubs_weight_names(tiny_llava: Path) -> None:
    with safe_open(tiny_llava / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "language_model.lm_head.weight" in names
    assert "language_model.model.embed_tokens.weight" in names
    assert "multi_modal_projector.linear_1.weight" in names
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in names
    assert all(n.split(".")[0] != "vision_tower" or ".vision_model." in n for n in names)


def test_transformers_finds_every_weight_and_no_other(checkpoint: tuple[str, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    family, path = checkpoint
    kind = AutoModelForCausalLM if MODEL_TYPES[family] in TEXT_ONLY else AutoModelForImageTextToText
    _, info = kind.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_same_seed_same_weights(tmp_path: Path) -> None:
    files = [
        make_tiny("qwen3", tmp_path / name, seed=seed) / "model.safetensors"
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, second, third = (load_file(file) for file in files)
    assert all(first[name].equal(second[name]) for name in first)
    assert any(not first[name].equal(third[name]) for name in first)


def test_heads_are_wide_enough_for_the_engine() -> None:
    assert all(size.head_dim >= 32 for size in SIZES.values())


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="qwen3_vl"):
        make_tiny("qwen4_vl", tmp_path)
    with pytest.raises(ConfigError, match="tiny"):
        make_tiny("qwen3", tmp_path, size="huge")


@dataclass(frozen=True)
class Comparison:
    """What one process found on every checkpoint, by its folder, and how that process ended."""

    found: dict[str, Any]
    returncode: int
    errors: str


@pytest.fixture(scope="module")
def comparison(request: pytest.FixtureRequest) -> Comparison:
    paths = [str(request.getfixturevalue(fixture)) for fixture in MODEL_TYPES.values()]
    child = Path(__file__).with_name("agreement_child.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(child), *paths],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"path"')]
    found = {line["path"]: line for line in lines}
    return Comparison(found, done.returncode, done.stderr[-3000:])


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_transformers_and_vllm_agree(checkpoint: tuple[str, Path], comparison: Comparison) -> None:
    assert str(checkpoint[1]) in comparison.found, comparison.errors
    found = comparison.found[str(checkpoint[1])]
    assert found["tokens"] >= 24
    assert found["largest_difference"] <= 1e-5, found


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_the_comparing_process_ends_without_an_error(comparison: Comparison) -> None:
    """Also after its last checkpoint: an engine that fails at its end is a failure."""
    assert comparison.returncode == 0, comparison.errors
