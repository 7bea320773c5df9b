"""One trajectory whatever the engine: ranks, ZeRO stage, offload; and dtypes below float32."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rl.algorithms.sft import SFT
from rl.data.tree import Tree
from rl.errors import ConfigError, ModelError
from rl.learners.base import LearnerConfig, SamplingDistribution
from rl.learners.group import deal
from rl.learners.schedule import rate
from rl.learners.state import STATE_TAG
from rl.learners.weights import SHARD_SIZE
from rl.models.load import load_model
from tests.rl.learners import zero_child
from tests.rl.learners.processes import Course, Metrics, Ranks, Shares, differing, two_actors
from tests.rl.learners.test_weights import same_files
from tests.rl.learners.trajectory import (
    PLAN,
    ROW_BY_ROW,
    TEN,
    assert_same,
    largest_gap,
    mixed_steps,
    plain_torch,
    sft_steps,
    update_gap,
)
from tests.rl.models.trees import small

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ENGINES = [(0, False), (1, False), (2, False), (3, False), (1, True), (2, True), (3, True)]
IDS = [f"zero{zero}{'-offload' * offload}" for zero, offload in ENGINES]
MODEL = "model.safetensors"


@pytest.fixture(scope="module")
def steps(tiny_qwen3vl: Path) -> list[tuple[list[Tree], list[Tree]]]:
    return mixed_steps(small(tiny_qwen3vl))


@pytest.fixture(scope="module")
def wanted(
    tiny_qwen3vl: Path, steps: list[tuple[list[Tree], list[Tree]]]
) -> tuple[list[float], dict[str, Tensor]]:
    """Plain torch's trajectory over both ranks' trees."""
    return plain_torch(tiny_qwen3vl, [one + two for one, two in steps], TEN, config=ROW_BY_ROW)


def assert_trajectory(
    found: tuple[Metrics, dict[str, Tensor]], wanted: tuple[list[float], dict[str, Tensor]]
) -> None:
    metrics, weights = found
    norms, theirs = wanted
    assert [m["grad_norm"] for m in metrics] == pytest.approx(norms, rel=1e-5)
    assert [m["lr"] for m in metrics] == [rate(TEN, n) for n in range(1, 11)]
    assert largest_gap(weights, theirs) <= 1e-6


def test_a_step_mixes_micro_batches(steps: Any, tiny_qwen3vl: Path) -> None:
    """The steps hold what the equivalence tests are about: text first, then images."""
    row = ROW_BY_ROW.row_tokens
    kinds = []
    for one, two in steps[:5]:
        batches = small(tiny_qwen3vl).batches(one, row_tokens=row, tokens=row)
        kinds.append("".join("TI"[batch.images is not None] for batch in batches))
        assert len(one) > len(two)
    assert kinds[2:4] == ["TTT", "TT"]
    assert all(kind.startswith("TI") for kind in (*kinds[:2], kinds[4]))


@pytest.fixture(scope="module", params=ENGINES, ids=IDS)
def lone_ten(
    request: pytest.FixtureRequest, alone: Ranks, steps: Any, tmp_path_factory: Any
) -> Course:
    """Ten steps of one rank."""
    zero, offload = request.param
    alone.start({"zero": zero, "offload": offload}, ROW_BY_ROW)
    return Course(alone, [[one + two for one, two in steps]], tmp_path_factory.mktemp("lone"))


@pytest.fixture(scope="module", params=ENGINES, ids=IDS)
def paired_ten(
    request: pytest.FixtureRequest, pair: Ranks, steps: Any, tmp_path_factory: Any
) -> Course:
    """Ten steps of two ranks. Unequal shares: a rank without images, without trees, with fewer
    micro-batches.
    """
    zero, offload = request.param
    pair.start({"zero": zero, "offload": offload}, ROW_BY_ROW)
    shares = [[one for one, _ in steps], [two for _, two in steps]]
    return Course(pair, shares, tmp_path_factory.mktemp("paired"))


def test_one_rank_takes_plain_torchs_ten_steps(lone_ten: Course, wanted: Any) -> None:
    assert_trajectory(lone_ten.found, wanted)
    assert min(wanted[0]) > TEN.max_grad_norm


def test_one_rank_goes_on_in_the_same_bits(lone_ten: Course) -> None:
    lone_ten.assert_resumes()


def test_two_ranks_take_plain_torchs_ten_steps(paired_ten: Course, wanted: Any) -> None:
    assert_trajectory(paired_ten.found, wanted)


def test_two_ranks_go_on_in_the_same_bits(paired_ten: Course) -> None:
    paired_ten.assert_resumes()


def test_two_ranks_save_what_they_publish(paired_ten: Course, tmp_path: Path) -> None:
    """In the bytes that save_pretrained gives for a model with these weights, in shards too."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    paired_ten.ranks.each(zero_child.call, [("save", str(whole))] * 2)
    assert differing(load_file(whole / MODEL), paired_ten.found[1]) == []
    paired_ten.ranks.each(zero_child.save_in_shards, [(str(cut), "150KB")] * 2)
    plain = load_model(whole)
    for ours, size in ((whole, SHARD_SIZE), (cut, "150KB")):
        plain.save_pretrained(tmp_path / f"plain-{ours.name}", max_shard_size=size)
        same_files(ours, tmp_path / f"plain-{ours.name}")


def test_a_state_of_another_learner_is_refused(alone: Ranks, pair: Ranks, tmp_path: Path) -> None:
    theirs, ours = str(tmp_path / "theirs"), str(tmp_path / "ours")
    pair.start({"zero": 1})
    pair.each(zero_child.call, [("save_state", theirs)] * 2)
    alone.start({"zero": 0})
    with pytest.raises(ModelError, match=r"\(ranks: 2 -> 1, zero: 1 -> 0\)"):
        alone.each(zero_child.call, [("load_state", theirs)])
    alone.each(zero_child.call, [("save_state", ours)])
    shutil.rmtree(Path(ours) / STATE_TAG)
    with pytest.raises(ModelError, match="the saved state does not fit: "):
        alone.each(zero_child.call, [("load_state", ours)])


def test_two_ranks_are_one(pair: Ranks, tiny_qwen3vl: Path, tmp_path: Path) -> None:
    """ZeRO 1 on two ranks with unequal shares: one of them runs more micro-batches."""
    steps = sft_steps(small(tiny_qwen3vl))
    pair.start({"zero": 1})
    shares = [[trees[:5] for trees in steps], [trees[5:] for trees in steps]]
    metrics, found = pair.train(shares, tmp_path, PLAN)
    norms, weights = plain_torch(tiny_qwen3vl, steps)
    assert [m["grad_norm"] for m in metrics] == pytest.approx(norms, rel=1e-5)
    # Both stay within 2.1e-7 of the float64 trajectory. Where a clipped gradient (2e-6) lies below
    # AdamW's eps, lr / eps = 100 turns its rounding of 1.4e-9 into a weight's 1.1e-7: one weight.
    assert_same(found, weights, atol=1e-6)


def test_two_ray_actors_at_zero_3(tiny_qwen3vl: Path, steps: Any, tmp_path: Path) -> None:
    """As a run starts them: actors of a cluster, trees dealt by cost, weights published."""
    config = LearnerConfig(**{**ROW_BY_ROW.model_dump(), "ranks": 2, "zero": 3})
    trees = [one + two for one, two in steps[:2]]
    hands = deal(trees[0], 2)
    assert all(hands)
    assert len(hands[0]) != len(hands[1])
    out = tmp_path / "weights.safetensors"
    with two_actors(config, tiny_qwen3vl) as group:
        group.begin_stage(str(tiny_qwen3vl), TEN, needs_reference=False)
        before = group.logprobs(trees[0], SamplingDistribution())
        metrics = [group.step(step, SFT(), SamplingDistribution()) for step in trees]
        group.publish(str(out))
    model = small(tiny_qwen3vl)
    [batch] = model.batches(trees[0])
    with torch.no_grad():
        logp_N = model.forward(batch)
    for number, (tree, branch) in enumerate(batch.owners):
        alone = logp_N[batch.branch_N == number].tolist()
        assert before[tree][branch] == pytest.approx(alone, abs=1e-5)
    norms, weights = plain_torch(tiny_qwen3vl, trees, TEN, config=config)
    assert [m["grad_norm"] for m in metrics] == pytest.approx(norms, rel=1e-5)
    assert largest_gap(load_file(out), weights) <= 1e-6


# -- below float32


def masters(ranks: Ranks, out: Path) -> dict[str, Tensor]:
    """The float32 weights that AdamW holds."""
    ranks.each(zero_child.masters, [(str(out / "masters"),)] * len(ranks.pools))
    return load_file(out / "masters")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bfloat16", "zero": 0},
        {"dtype": "bfloat16", "zero": 1},
        {"dtype": "bfloat16", "zero": 2, "offload": True},
        {"dtype": "bfloat16", "zero": 3},
        {"dtype": "float16", "zero": 1, "loss_scale": 128.0},
        {"dtype": "float16", "zero": 2, "loss_scale": 128.0},
        {"dtype": "float16", "zero": 3, "loss_scale": 128.0, "offload": True},
    ],
    ids=lambda changes: f"{changes['dtype']}-zero{changes['zero']}",
)
def test_masters_are_float32(
    alone: Ranks, tiny_qwen3vl: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """AdamW moves float32 masters by gradients of the lower dtype, as plain torch does by hand.

    float16: DeepSpeed asks for oneDNN's kernels, which few CPUs have; torch's own compute the same
    here once its question is answered with yes.
    """
    trees = sft_steps(small(tiny_qwen3vl))
    alone.start(changes, opens_float16=True)
    metrics = assert_masters(alone, [trees], tiny_qwen3vl, tmp_path)
    if changes["dtype"] == "float16":
        assert [(m["loss_scale"], m["skipped"]) for m in metrics] == [(128.0, 0.0)] * 4


def test_masters_of_two_ranks_are_float32(pair: Ranks, tiny_qwen3vl: Path, tmp_path: Path) -> None:
    """bfloat16 at ZeRO 3, unequal shares: the ranks' gradients are added up in bfloat16."""
    trees = sft_steps(small(tiny_qwen3vl))
    pair.start({"dtype": "bfloat16", "zero": 3})
    shares = [[step[:4] for step in trees], [step[4:] for step in trees]]
    assert_masters(pair, shares, tiny_qwen3vl, tmp_path)


def assert_masters(ranks: Ranks, shares: Shares, path: Path, out: Path) -> Metrics:
    """Steps of PLAN from `path`: plain torch's masters, up to the rounding of the gradients."""
    dtype = getattr(torch, ranks.config.dtype)
    metrics, weights = ranks.train(shares, out, PLAN)
    steps = [[tree for part in step for tree in part] for step in zip(*shares, strict=True)]
    norms, theirs = plain_torch(path, steps, config=ranks.config)
    ours = masters(ranks, out)
    assert {weight.dtype for weight in weights.values()} == {dtype}
    assert {weight.dtype for weight in ours.values()} == {torch.float32}
    assert any((ours[name] != weights[name].float()).any() for name in ours)
    assert [m["grad_norm"] for m in metrics] == pytest.approx(norms, rel=1e-3)
    start = {n: w.to(dtype).float() for n, w in load_file(path / MODEL).items()}
    # Four steps' gradients, each rounded to the dtype by half a unit at most: the sums' order
    # differs (0.003 to 0.006 and 0.0007 to 0.0008 were seen, by the number of threads).
    assert update_gap(ours, theirs, start) <= 4 * torch.finfo(dtype).eps / 2
    return metrics


@pytest.mark.parametrize("zero", [0, 3])
def test_bfloat16_goes_on_in_the_same_bits(
    alone: Ranks, tiny_qwen3vl: Path, tmp_path: Path, zero: int
) -> None:
    """The masters too, whose lower bits the weights do not show."""
    alone.start({"dtype": "bfloat16", "zero": zero})
    four = Course(alone, [sft_steps(small(tiny_qwen3vl))], tmp_path, PLAN)
    whole = masters(alone, tmp_path)
    four.assert_resumes()
    assert differing(masters(alone, tmp_path), whole) == []


def test_float16_goes_on_in_the_same_bits_at_the_scale_that_it_had(
    alone: Ranks, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    trees, state = sft_steps(small(tiny_qwen3vl)), str(tmp_path / "scaled")
    alone.start({"dtype": "float16", "zero": 2}, opens_float16=True)
    Course(alone, [trees], tmp_path, PLAN).assert_resumes()
    alone.each(zero_child.set_loss_scale, [(2.0**10,)])  # as overflows leave it
    alone.each(zero_child.call, [("save_state", state)])
    other, _ = alone.train([trees[:1]], tmp_path, PLAN)
    again, _ = alone.train([trees[:1]], tmp_path, PLAN, taken_up=state)
    assert [m["loss_scale"] for m in other + again] == [2.0**16, 2.0**10]


def test_a_float16_step_that_overflows_is_left_out(
    alone: Ranks, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    trees = sft_steps(small(tiny_qwen3vl))
    alone.start({"dtype": "float16", "zero": 2, "loss_scale": 2.0**40}, opens_float16=True)
    metrics, weights = alone.train([trees[:1]], tmp_path, PLAN)
    before = {name: w.half() for name, w in load_file(tiny_qwen3vl / MODEL).items()}
    assert metrics[0]["skipped"] == 1.0
    assert metrics[0]["loss_scale"] == 2.0**40
    assert metrics[0]["grad_norm"] == float("inf")
    assert_same(weights, before, atol=0.0)


def test_a_dynamic_loss_scale_begins_anew_with_a_stage(
    alone: Ranks, tiny_qwen3vl: Path, tmp_path: Path
) -> None:
    trees = sft_steps(small(tiny_qwen3vl))
    alone.start({"dtype": "float16", "zero": 2}, opens_float16=True)
    first, _ = alone.train([trees], tmp_path, PLAN)
    assert [m["loss_scale"] for m in first] == [2.0**16] * 4
    alone.each(zero_child.set_loss_scale, [(2.0**40,)])  # as a stage of small gradients leaves it
    again, _ = alone.train([trees], tmp_path, PLAN)
    assert [m["loss_scale"] for m in again] == [2.0**16] * 4


def test_a_cpu_without_float16_refuses_it(alone: Ranks) -> None:
    if torch.ops.mkldnn._is_mkldnn_fp16_supported():
        pytest.skip("this CPU computes float16")
    with pytest.raises(ConfigError, match=r"learner.dtype: float16 is not supported"):
        alone.start({"dtype": "float16", "zero": 2})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zero": 0, "offload": True}, "offload: true needs zero: 1, 2 or 3"),
        ({"zero": 0, "dtype": "float16"}, "float16 needs zero: 1, 2 or 3"),
        ({"loss_scale": 8.0}, "loss_scale has no meaning for dtype: float32"),
    ],
)
def test_what_no_engine_can_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LearnerConfig(**changes)
