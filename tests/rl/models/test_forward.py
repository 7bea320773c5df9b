"""One tree gives what its rows give: log-probs and gradients, whatever the split."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl.data.tree import Branch
from rl.models.forward import TreeForward
from rl.models.spec import Layout
from tests.rl.models.trees import (
    FAMILIES,
    Small,
    alternating,
    assert_same_gradient,
    checkpoint,
    small,
)


def vocab_size(model: Small) -> int:
    return int(model.spec.text_config["vocab_size"])


@pytest.fixture(params=FAMILIES)
def any_small(request: pytest.FixtureRequest) -> Small:
    return small(checkpoint(request, request.param))


def test_tree_equals_rows(any_small: Small) -> None:
    """The rows' side has a plain 2-D mask, and positions that the model finds by itself."""
    trees = [any_small.tree(seed) for seed in range(6)]
    rows, rows_gradient = any_small.learn(
        any_small.batches(trees, layout="rows", finds_positions=True), alternating
    )
    ours, gradient = any_small.learn(any_small.batches(trees), alternating)
    assert rows.keys() == ours.keys()
    for owner, logp in rows.items():
        torch.testing.assert_close(ours[owner], logp, rtol=0, atol=1e-5)
    assert_same_gradient(gradient, rows_gradient)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 7),
    row_tokens=st.sampled_from([1, 80, 200, 512]),
    tokens=st.sampled_from([1, 150, 400, 10**9]),
    layout=st.sampled_from(["tree", "rows"]),
)
def test_any_split_gives_the_same_gradient(
    tiny_qwen3vl: Path, seed: int, count: int, row_tokens: int, tokens: int, layout: str
) -> None:
    model = small(tiny_qwen3vl)
    trees = [model.tree(seed + i) for i in range(count)]
    whole, gradient = model.learn(model.batches(trees), alternating)
    order = random.Random(seed).sample(range(count), count)
    split, split_gradient = model.learn(
        model.batches(
            [trees[i] for i in order],
            layout=layout,  # type: ignore[arg-type]
            row_tokens=row_tokens,
            tokens=tokens,
        ),
        lambda owner: alternating((order[owner[0]], owner[1])),
    )
    for (tree, branch), logp in split.items():
        torch.testing.assert_close(logp, whole[order[tree], branch], rtol=0, atol=1e-5)
    assert_same_gradient(split_gradient, gradient)


@pytest.mark.parametrize("layout", ["tree", "rows"])
@pytest.mark.parametrize("row_tokens", [1, 128, 256, 512])
def test_loss_and_gradient_do_not_depend_on_the_rows(
    tiny_qwen3vl: Path, layout: Layout, row_tokens: int
) -> None:
    """To 1e-6 of their size, on fixed weights."""
    model = small(tiny_qwen3vl)
    trees = [model.tree(seed) for seed in range(12)]

    def loss_and_gradient(**rows: Any) -> tuple[float, Tensor]:
        logps, gradients = model.learn(model.batches(trees, **rows), lambda _: -1.0)
        loss = -sum(float(logp.double().sum()) for logp in logps.values())
        return loss, torch.cat([gradients[name].flatten() for name in sorted(gradients)])

    loss, gradient = loss_and_gradient(layout=layout, row_tokens=row_tokens)
    wanted, wanted_gradient = loss_and_gradient(layout="tree", row_tokens=256)
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert float((gradient - wanted_gradient).norm() / wanted_gradient.norm()) <= 1e-6


def test_windowed_layers_see_the_same_in_a_tree(tiny_qwen3: Path) -> None:
    from rl.models.load import find_spec, load_processor

    config = {
        "use_sliding_window": True,
        "sliding_window": 4,
        "layer_types": ["full_attention", "sliding_attention"],
    }
    model = Small(tiny_qwen3)
    spec = find_spec(tiny_qwen3, load_processor(tiny_qwen3))
    spec.config = {**spec.config, **config}
    model.spec = type(spec)(spec.config, spec.processor)
    from transformers import AutoConfig, AutoModelForCausalLM

    windowed = AutoConfig.from_pretrained(tiny_qwen3, **config)
    model.model = AutoModelForCausalLM.from_pretrained(tiny_qwen3, config=windowed).float()
    model.forward = TreeForward(model.model, model.spec)
    trees = [model.tree(seed) for seed in range(4)]
    rows, _ = model.learn(model.batches(trees, layout="rows", finds_positions=True), alternating)
    ours, _ = model.learn(model.batches(trees), alternating)
    full, _ = small(tiny_qwen3).learn(small(tiny_qwen3).batches(trees), alternating)
    for owner, logp in rows.items():
        torch.testing.assert_close(ours[owner], logp, rtol=0, atol=1e-5)
    assert any(not torch.allclose(full[owner], logp, atol=1e-3) for owner, logp in rows.items())


def test_chunks_change_neither_logps_nor_gradient(tiny_qwen3vl: Path) -> None:
    model = small(tiny_qwen3vl)
    batches = model.batches([model.tree(seed) for seed in range(4)])
    whole, gradient = model.learn(batches, alternating)
    in_chunks = Small(tiny_qwen3vl)
    in_chunks.forward.chunk_elements = 5 * vocab_size(in_chunks)  # five tokens a chunk
    pieces, piece_gradient = in_chunks.learn(batches, alternating)
    for owner, logp in whole.items():
        torch.testing.assert_close(pieces[owner], logp, rtol=0, atol=1e-6)
    assert_same_gradient(piece_gradient, gradient)


def test_no_logits_beyond_a_chunk(tiny_qwen3vl: Path) -> None:
    model = Small(tiny_qwen3vl)
    model.forward.chunk_elements = 5 * vocab_size(model)
    seen: list[int] = []
    head = model.model.get_output_embeddings()
    head.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[0]))
    [batch] = model.batches([model.tree(seed) for seed in range(4)])
    model.forward(batch)
    assert max(seen) == 5
    assert sum(seen) == len(batch.target_N)


def test_log_probs_are_of_the_sampled_distribution(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    [batch] = model.batches([model.tree(1)])
    banned = tuple(range(300, vocab_size(model)))
    with torch.no_grad():
        hidden = model.forward.hidden_states(batch).flatten(0, 1)[batch.predict_N]
        logits = model.model.lm_head(hidden) / 0.7
        logits[:, 300:] = float("-inf")
        wanted = logits.log_softmax(-1).gather(1, batch.target_N[:, None])[:, 0]
        found = model.forward(batch, 0.7, banned)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_nothing_to_train_is_a_differentiable_nothing(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    tree = replace(
        model.tree(1), branches=(Branch(uid="a", token_ids=(30, 31), trained=(False, False)),),
        trunk_trained=None,
    )  # fmt: skip
    [batch] = model.batches([tree])
    model.model.zero_grad()
    logp_N = model.forward(batch)
    assert logp_N.shape == (0,)
    logp_N.sum().backward()
    assert all(
        float(p.grad.abs().sum()) == 0 for p in model.model.parameters() if p.grad is not None
    )


def test_repeated_images_run_once(tiny_qwen3vl: Path) -> None:
    model = Small(tiny_qwen3vl)
    tree = model.tree(3, images=1)
    seen: list[int] = []
    model.model.model.visual.register_forward_hook(
        lambda _m, args, kwargs, _o: seen.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    [batch] = model.batches([tree, replace(tree, uid="again")], layout="rows")
    model.forward(batch)
    assert seen == [1]
