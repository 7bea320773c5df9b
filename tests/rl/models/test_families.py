"""Every family: planned lengths and positions are the real ones."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rl.data.images import open_image
from tests.rl.models.trees import ADDED, FAMILIES, TEXT_ONLY, VISION, checkpoint, picture, small


@pytest.mark.parametrize("family", VISION)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(width=st.integers(8, 300), height=st.integers(8, 300))
def test_planned_tokens_are_the_processors(
    request: pytest.FixtureRequest, family: str, width: int, height: int
) -> None:
    model = small(checkpoint(request, family))
    source = picture(width, height, 0)
    placeholder = model.spec.tokenizer.convert_ids_to_tokens(model.spec.image_token_id)
    encoded = model.processor(text=[f"a {placeholder} b"], images=[open_image(source)])
    real = list(encoded["input_ids"][0]).count(model.spec.image_token_id)
    assert model.spec.num_image_tokens(width, height) == real


@pytest.mark.parametrize("family", ["tiny_qwen3vl", "tiny_qwen25vl", "tiny_qwen2vl"])
def test_positions_are_get_rope_index(request: pytest.FixtureRequest, family: str) -> None:
    model = small(checkpoint(request, family))
    for seed in range(12):
        tree = model.tree(seed)
        images = model.store.get(tree.images)
        ids = torch.tensor([tree.trunk_ids])
        grid = torch.cat([image["image_grid_thw"] for image in images]) if images else None
        wanted, _ = model.model.model.get_rope_index(
            ids, mm_token_type_ids=(ids == model.spec.image_token_id).int(), image_grid_thw=grid
        )
        assert torch.equal(model.spec.positions(tree.trunk_ids, images), wanted[:, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_placeholders_are_banned(request: pytest.FixtureRequest, family: str) -> None:
    spec = small(checkpoint(request, family)).spec
    banned = spec.tokenizer.convert_ids_to_tokens(list(spec.banned_ids))
    vision = {f"<|{name}|>" for name in ("vision_pad", "vision_start", "vision_end")}
    qwen = {"<|image_pad|>", "<|video_pad|>", *vision}
    expected = {"tiny_llava": {"<image>"}, **{name: set() for name in TEXT_ONLY}}
    if family in ADDED:
        assert spec.image_token_id in (None, *spec.banned_ids)
    else:
        assert set(banned) == expected.get(family, qwen)
    assert spec.end_id == spec.tokenizer.eos_token_id


def test_pixels_of_one_image_do_not_depend_on_its_company(tiny_qwen3vl: Path) -> None:
    spec = small(tiny_qwen3vl).spec
    images = [open_image(picture(w, h, 1)) for w, h in ((64, 48), (90, 40), (64, 48))]
    together = spec.pixels(images)
    for image, fields in zip(images, together, strict=True):
        [alone] = spec.pixels([image])
        assert all(torch.equal(alone[name], fields[name]) for name in alone)
