"""Checkpoint folders: what is missing is named; limits are saved; weights keep the file's names."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from rl.errors import ModelError
from rl.models.load import (
    check_folder,
    file_weights,
    find_spec,
    freeze,
    load_model,
    load_processor,
    weight_names,
)
from tests.rl.models.trees import FAMILIES, checkpoint, small


@pytest.fixture
def copy(tiny_qwen3vl: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_qwen3vl, tmp_path / "model"))


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("config.json", "config.json"),
        ("*.safetensors", "weights"),
        ("tokenizer*", "tokenizer"),
        ("*processor*", "processor"),
        ("chat_template*", "chat template"),
    ],
)
def test_a_missing_part_is_named(copy: Path, gone: str, named: str) -> None:
    found = list(copy.glob(gone))
    assert found
    for file in found:
        file.unlink()
    for file in copy.glob("*tokenizer_config.json"):
        config = json.loads(file.read_text())
        config.pop("chat_template", None)
        file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=named) as error:
        check_folder(copy)
    assert str(copy) in str(error.value)
    assert error.value.exit_code == 2


def test_no_folder_and_no_family(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        check_folder(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"model_type": "qwen9_vl"}')
    with pytest.raises(ModelError, match=r"qwen9_vl.*qwen3_vl"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="broken JSON"):
        check_folder(tmp_path)


def test_the_image_limit_is_saved_with_the_checkpoint(tiny_qwen3vl: Path, tmp_path: Path) -> None:
    free = find_spec(tiny_qwen3vl, load_processor(tiny_qwen3vl))
    processor = load_processor(tiny_qwen3vl, max_pixels=1024)
    limited = find_spec(tiny_qwen3vl, processor)
    assert limited.num_image_tokens(64, 64) == 4 < free.num_image_tokens(64, 64)
    shutil.copytree(tiny_qwen3vl, tmp_path, dirs_exist_ok=True)
    processor.save_pretrained(tmp_path)
    assert find_spec(tmp_path, load_processor(tmp_path)).num_image_tokens(64, 64) == 4
    assert free.engine_kwargs(1024) == {"max_pixels": 1024}


def test_a_limit_that_cannot_be_kept_is_refused(tiny_qwen3vl: Path, tiny_llava: Path) -> None:
    with pytest.raises(ModelError, match="less than one image token"):
        load_processor(tiny_qwen3vl, max_pixels=100)
    with pytest.raises(ModelError, match="always 64x64"):
        load_processor(tiny_llava, max_pixels=1000)
    load_processor(tiny_llava, max_pixels=64 * 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_keep_the_names_of_the_file(
    request: pytest.FixtureRequest, family: str, tmp_path: Path
) -> None:
    """Publish, save and the file that was loaded have one namespace; a tied head is left out."""
    path: Path = checkpoint(request, family)
    model = load_model(path)
    weights = file_weights(model)
    model.save_pretrained(tmp_path)
    for file in (path / "model.safetensors", tmp_path / "model.safetensors"):
        with safe_open(file, "pt") as opened:
            assert set(opened.keys()) == set(weights)
            assert all(torch.equal(opened.get_tensor(name), weights[name]) for name in weights)
    has_head = any(name.endswith("lm_head.weight") for name in weights)
    assert has_head == (not model.config.tie_word_embeddings)
    if family == "tiny_llava":
        assert any(name.startswith("vision_tower.vision_model.") for name in weights)


def test_names_are_read_from_a_file_and_from_all_shards_of_a_folder(
    tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_qwen3vl)
    wanted = frozenset(file_weights(model))
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert weight_names(tiny_qwen3vl / "model.safetensors") == wanted
    assert weight_names(tmp_path) == wanted


def test_missing_weights_are_an_error(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = next(n for n in weights if n.endswith("q_proj.weight"))
    del weights[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="q_proj"):
        load_model(copy)


def test_frozen_parts(tiny_qwen3vl: Path, tiny_qwen3: Path) -> None:
    model = load_model(tiny_qwen3vl)
    spec = small(tiny_qwen3vl).spec
    frozen = freeze(model, spec, ("vision",))
    assert frozen
    assert all(".visual." in name and "merger" not in name for name in frozen)
    assert all(p.requires_grad != (n in frozen) for n, p in model.named_parameters())
    assert all("merger" in name for name in freeze(model, spec, ("projector",)))
    with pytest.raises(ModelError, match="no 'vision' part"):
        freeze(load_model(tiny_qwen3), small(tiny_qwen3).spec, ("vision",))
