"""Sizes that `plan` shows, held to real models, to published counts and to autograd."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipes.planning.actors import roles
from recipes.planning.plan import memory, require_fit
from recipes.planning.sizes import (
    GIB,
    _stack,
    architecture,
    cached_tokens,
    learner_bytes,
    longest_tree,
    passing_bytes,
    publish_bytes,
)
from recipes.schema.recipe import Recipe, load_recipe, recipe_of
from rl.errors import ConfigError, ModelError
from rl.models.load import file_weights, load_model
from rl.runtime.gpu_assignment import GpuAssignment, assign_gpus
from tests.rl.models.trees import FAMILIES, checkpoint

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "models"
STAGE = {"name": "sft", "algorithm": "sft", "data": [{"path": "data/sft.jsonl"}]}
# Counted from config.json; the model cards publish 3.75 B and 4.44 B ("B params"), and the index of
# Qwen2-VL-2B's weights 4,417,971,200 bytes in bfloat16.
PUBLISHED = {
    "Qwen2-VL-2B-Instruct": (2_208_985_600, 665_271_296, 729),
    "Qwen2.5-VL-3B-Instruct": (3_754_622_976, 668_684_288, 824),
    "Qwen3-VL-4B-Instruct": (4_437_815_808, 415_347_712, 713),
}


def page(model: Path, **sections: Any) -> Recipe:
    return recipe_of({"model": {"path": str(model)}, "stages": [STAGE], **sections})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_count_is_the_models(request: pytest.FixtureRequest, family: str) -> None:
    path: Path = checkpoint(request, family)
    arch = architecture(page(path))
    weights = file_weights(load_model(path))
    assert arch.parameters == sum(w.numel() for w in weights.values())
    assert arch.num_weights == len(weights)
    assert publish_bytes(page(path), arch) == sum(w.nbytes for w in weights.values())
    tower = sum(w.numel() for n, w in weights.items() if "visual." in n or "vision_tower" in n)
    assert arch.vision_parameters == tower


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_is_the_published_one(name: str) -> None:
    arch = architecture(page(MODELS / name))
    assert (arch.parameters, arch.vision_parameters, arch.num_weights) == PUBLISHED[name]
    published = {"2.5": "3.75", "3-V": "4.44", "2-V": f"{4_417_971_200 / 2e9:.2f}"}
    assert f"{arch.parameters / 1e9:.2f}" == published[name[4:7]]
    assert arch.trained == arch.parameters
    frozen = architecture(
        recipe_of({"model": {"path": str(MODELS / name), "freeze": ["vision"]}, "stages": [STAGE]})
    )
    assert arch.parameters - frozen.trained < arch.vision_parameters  # the projector is trained
    assert not frozen.is_vision_trained


def test_a_config_without_a_width_is_named() -> None:
    config = SimpleNamespace(model_type="new_tower", hidden_size=64, num_heads=2, depth=2)
    with pytest.raises(ModelError, match=r"config.json: new_tower has no mlp_ratio"):
        _stack(config, [])


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("part", ["text", "vision"])
def test_what_a_pass_keeps_is_what_autograd_keeps(name: str, part: str) -> None:
    """Two layers of the real widths against one: bytes a token, at most a sixth off."""
    tokens = 64
    one, two = (_kept(MODELS / name, layers, tokens, part) for layers in (1, 2))
    arch = architecture(page(MODELS / name))
    stack = arch.text if part == "text" else arch.vision
    assert stack is not None
    assert stack.kept(2) / stack.layers == pytest.approx((two - one) / tokens, rel=1 / 6)


def _kept(path: Path, layers: int, tokens: int, part: str) -> int:
    """Bytes that autograd keeps in a bfloat16 pass over a model cut to `layers`, weights aside."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(path)
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers, text.vocab_size, vision.depth = layers, 512, layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    if hasattr(vision, "deepstack_visual_indexes"):
        vision.deepstack_visual_indexes = []
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cpu")  # whatever the memory holds: only sizes are asked for
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if part == "vision":
            side = int(tokens**0.5)
            pixels = 3 * vision.temporal_patch_size * vision.patch_size**2
            patches = torch.zeros(tokens, pixels, dtype=torch.bfloat16)
            out = model.model.get_image_features(patches, torch.tensor([[1, side, side]]))
        else:
            out = model.model(
                input_ids=torch.zeros(1, tokens, dtype=torch.long),
                attention_mask=torch.zeros(1, 1, tokens, tokens, dtype=torch.bfloat16),
                position_ids=torch.arange(tokens).expand(3, 1, tokens),
                use_cache=False,
            )
    assert out is not None
    return sum(storage.nbytes() for storage in kept.values())


def test_states_are_shared_as_zero_shares_them(tiny_qwen3: Path) -> None:
    """2 + 2 + 12 bytes a parameter; 1/4 of what each stage partitions on 4 ranks."""
    found = {}
    for zero in (0, 1, 2, 3):
        recipe = page(tiny_qwen3, learner={"ranks": 4, "zero": zero, "dtype": "bfloat16"})
        arch = architecture(recipe)
        states = {k: v / arch.parameters for k, v in learner_bytes(recipe, arch).items()}
        found[zero] = (states["weights"], states["gradients"], states["AdamW"])
    assert found == {0: (2, 2, 12), 1: (2, 2, 3), 2: (2, 0.5, 3), 3: (0.5, 0.5, 3)}
    recipe = page(tiny_qwen3)
    arch = architecture(recipe)
    plain = learner_bytes(recipe, arch)
    assert sum(plain.values()) == 16 * arch.parameters  # float32: 4 + 4 + 8
    assert passing_bytes(recipe, arch)["a gathering"] == 0


def test_a_tree_is_bounded_by_the_longest_row() -> None:
    stages = {s.name: s for s in load_recipe(ROOT / "recipes/configs/quickstart.yaml").stages}
    recipe = load_recipe(ROOT / "recipes/configs/quickstart.yaml")
    bounds = {name: longest_tree(recipe, stages[name]) for name in ("sft", "dpo", "grpo")}
    assert bounds == {"sft": 256, "dpo": 512, "grpo": 256 + 7 * 16}


def test_keys_and_values() -> None:
    """36 layers, 2 heads of 128 in keys and in values, 2 bytes: 36,864 bytes a token."""
    recipe = page(
        MODELS / "Qwen2.5-VL-3B-Instruct",
        rollout={"gpus": 1, "engine": {"gpu_memory_utilization": 0.5}, "dtype": "bfloat16"},
        hardware={"gpus": 1, "gpu_gib": 80},
    )
    arch = architecture(recipe)
    left = 40 * GIB - 2 * arch.parameters - 2 * GIB
    assert cached_tokens(recipe, arch) == pytest.approx(left / 36_864)
    split = recipe.rollout.engine.model_copy(update={"tensor_parallel": 2})
    halves = recipe.model_copy(
        update={"rollout": recipe.rollout.model_copy(update={"engine": split})}
    )
    assert cached_tokens(halves, arch) == pytest.approx((38 * GIB - arch.parameters) / 18_432)


def fit(*, gib: float, zero: int = 0, share: float = 0.4, **learner: Any) -> dict[str, float]:
    recipe = page(
        MODELS / "Qwen2.5-VL-3B-Instruct",
        rollout={"gpus": 0.5, "engine": {"gpu_memory_utilization": share}, "dtype": "bfloat16"},
        learner={"zero": zero, "gpus": 0.5, "dtype": "bfloat16", **learner},
        hardware={"gpus": 1, "gpu_gib": gib},
    )
    assignments = [
        GpuAssignment("learner-0", "learner", 0, (0,)),
        GpuAssignment("rollout-0", "rollout", 0, (0,)),
    ]
    return require_fit(recipe, architecture(recipe), assignments)


def test_a_gpu_that_is_too_small_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError) as error:
        fit(gib=24)
    text = str(error.value)
    assert error.value.exit_code == 2
    assert "machine 0 GPU 0 needs" in text
    assert "weights 7.0, gradients 7.0, AdamW 42.0" in text
    assert "expected at most 24 GiB" in text
    needs = fit(gib=192)
    assert needs["learner"] > 56
    assert needs["rollout"] == pytest.approx(0.4 * 192)
    assert fit(gib=192, zero=1, offload=True)["learner"] == pytest.approx(needs["learner"] - 42, 1)


def test_an_engine_without_room_for_an_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"share of a GPU is 8\.6 GiB.*weights take 7\.0 GiB"):
        fit(gib=96, share=0.09)


def test_the_plan_names_every_owner(tiny_qwen3vl: Path) -> None:
    recipe = page(tiny_qwen3vl, learner={"zero": 1, "offload": True})
    owners = memory(recipe, architecture(recipe))
    assert {"learner weights (a rank)", "learner AdamW (a rank, in CPU memory)"} <= owners.keys()
    assert owners["engine KV cache (a worker)"] == 1024


def test_an_evaluation_is_planned_without_a_learner(tiny_qwen3vl: Path) -> None:
    """A plain forward pass has the learner's place, a judge's engine needs what the others need."""
    recipe = page(
        tiny_qwen3vl,
        learner={"gpus": 1},
        rollout={"gpus": 1},
        hardware={"gpus": 3, "gpu_gib": 24},
        evals={"judge": {"path": "judge"}},
        stages=[],
    )
    arch = architecture(recipe)
    owners = memory(recipe, arch)
    assert not any(owner.startswith("learner") for owner in owners)
    assert owners["plain forward (before the first question)"] > 4 * arch.parameters / 2**20
    needs = require_fit(recipe, arch, assign_gpus(roles(recipe), nodes=1, gpus=3))
    assert needs["judge"] == needs["rollout"] == pytest.approx(0.4 * 24)
    assert 0 < needs["forward"] < needs["learner"]
