"""The DeepSpeed learner against plain torch, on a tiny Qwen3-VL."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rl.algorithms.grpo import GRPO
from rl.algorithms.kto import KTO
from rl.algorithms.sft import SFT
from rl.errors import ModelError
from rl.learners.base import SamplingDistribution
from rl.learners.schedule import rate
from rl.models.load import load_model
from tests.rl.learners import zero_child
from tests.rl.learners.trajectory import (
    CONFIG,
    PLAN,
    assert_same,
    free_port,
    plain_torch,
    sft_steps,
)
from tests.rl.models.trees import Small, small

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def child() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def run(child: ProcessPoolExecutor, tiny_qwen3vl: Path) -> Call:
    """Calls a function of zero_child on the one learner "a"."""
    child.submit(zero_child.start, "a", CONFIG, str(tiny_qwen3vl), 0, 1, free_port()).result(300)
    return lambda function, *args, **kwargs: child.submit(function, "a", *args, **kwargs).result(
        200
    )


def test_four_clipped_steps_are_plain_torchs(run: Call, tiny_qwen3vl: Path, tmp_path: Path) -> None:
    steps = sft_steps(small(tiny_qwen3vl))
    out = str(tmp_path / "weights.safetensors")
    metrics = run(zero_child.train, str(tiny_qwen3vl), PLAN, steps, SFT(), out)
    norms, weights = plain_torch(tiny_qwen3vl, steps)
    assert [m["grad_norm"] for m in metrics] == pytest.approx(norms, rel=1e-5)
    assert min(norms) > PLAN.max_grad_norm
    assert [m["lr"] for m in metrics] == [rate(PLAN, n) for n in range(1, 5)]
    assert_same(load_file(out), weights)
    first = metrics[0]
    assert first["tokens/trained"] == sum(tree.num_trained for tree in steps[0])
    assert first["tokens/forward"] == sum(tree.num_tokens for tree in steps[0])
    again = run(zero_child.train, str(tiny_qwen3vl), PLAN, steps, SFT(), out)
    assert [m["loss"] for m in again] == [m["loss"] for m in metrics]  # begin_stage resets all


def test_publish_and_save_are_the_checkpoints_names(
    run: Call, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    run(zero_child.train, str(tiny_qwen3vl), PLAN, [], SFT(), str(tmp_path / "w.safetensors"))
    run(zero_child.call, "save", str(tmp_path / "saved"))
    original = load_file(tiny_qwen3vl / "model.safetensors")
    for file in (tmp_path / "w.safetensors", tmp_path / "saved" / "model.safetensors"):
        found = load_file(file)
        assert found.keys() == original.keys()
        assert all(torch.equal(found[name], original[name]) for name in original)
    assert (tmp_path / "saved" / "generation_config.json").is_file()
    load_model(tmp_path / "saved")
    assert [f.name for f in tmp_path.iterdir() if "partial" in f.name] == []


def test_logprobs_are_the_models(run: Call, tiny_qwen3vl: Path, tmp_path: Path) -> None:
    model = small(tiny_qwen3vl)
    trees = [model.tree(seed) for seed in range(5)]
    run(zero_child.train, str(tiny_qwen3vl), PLAN, [], SFT(), str(tmp_path / "w"))
    distribution = SamplingDistribution(temperature=0.7, banned_ids=model.spec.banned_ids)
    found = run(zero_child.call, "logprobs", trees, distribution)
    [batch] = model.batches(trees)
    with torch.no_grad():
        logp_N = model.forward(batch, 0.7, model.spec.banned_ids)
    for number, (tree, branch) in enumerate(batch.owners):
        wanted = logp_N[batch.branch_N == number].tolist()
        assert found[tree][branch] == pytest.approx(wanted, abs=1e-5)


def test_the_reference_stays_where_the_stage_began(
    run: Call, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    """KTO with mismatched answers: z and all references come from the frozen copy."""
    model = small(tiny_qwen3vl)
    singles = [model.tree(seed, branches=1, images=1) for seed in range(4)]
    trees = [
        replace(
            tree,
            trunk_trained=None,
            branches=(tree.branches[0].with_columns(label=i % 2 == 0),),
            mismatched=singles[i - 1].branches[0],
        )
        for i, tree in enumerate(singles)
    ]
    metrics = run(
        zero_child.train,
        str(tiny_qwen3vl),
        PLAN,
        [trees, trees],
        KTO(),
        str(tmp_path / "w"),
        needs_reference=True,
    )
    assert metrics[0]["kto/z"] == pytest.approx(0.0, abs=1e-5)
    assert metrics[0]["loss"] == pytest.approx(0.5, abs=1e-4)  # policy = reference: sigmoid(0)
    assert metrics[1]["loss"] < metrics[0]["loss"]
    before = run(zero_child.call, "logprobs", trees, SamplingDistribution(), reference=True)
    fresh = Small(tiny_qwen3vl)
    [batch] = fresh.batches(trees)
    with torch.no_grad():
        logp_N = fresh.forward(batch)
    flat = [x for tree in before for branch in tree for x in branch]
    owners = sorted(range(len(batch.owners)), key=lambda n: batch.owners[n])
    wanted = torch.cat([logp_N[batch.branch_N == n] for n in owners]).tolist()
    assert flat == pytest.approx(wanted, abs=1e-5)


def test_a_step_with_nothing_to_learn_changes_nothing(
    run: Call, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    model = small(tiny_qwen3vl)
    tree = replace(model.tree(1), trunk_trained=None)
    equal = replace(
        tree,
        branches=tuple(
            replace(b.with_columns(behavior_logps=(-1.0,) * len(b.token_ids)), reward=1.0)
            for b in tree.branches
        ),
    )
    out = str(tmp_path / "w")
    for steps in ([[equal]], [[]]):
        [metrics] = run(zero_child.train, str(tiny_qwen3vl), PLAN, steps, GRPO(), out)
        assert metrics["loss"] == 0
        assert metrics["tokens/trained"] == 0
        assert_same(load_file(out), load_file(tiny_qwen3vl / "model.safetensors"))


def test_another_models_checkpoint_is_refused(
    run: Call, tiny_qwen25vl: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="another model's"):
        run(zero_child.train, str(tiny_qwen25vl), PLAN, [], SFT(), str(tmp_path / "w"))
