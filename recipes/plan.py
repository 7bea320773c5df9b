"""What a recipe comes to, before anything runs: batch arithmetic, placement, steps, memory. No
engine starts."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recipes.build import local_placement, roles
from recipes.config import Recipe, StageSection
from recipes.console import say
from recipes.prepare import Prepared, prepare
from recipes.steps import count_steps, make_tree
from rl.core import Sample

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
_MIB = 2**20


@dataclass(frozen=True)
class StagePlan:
    """One stage's arithmetic. Tokens are means over the first rows; None where the rows come
    from a stage yet to run."""

    name: str
    start: str
    rows: int | None
    steps: int | None
    per_step: str
    tree_tokens: float | None
    row_tokens: float | None
    microbatches: int | None


def plan_stage(stage: StageSection, prepared: Prepared, recipe: Recipe) -> StagePlan:
    """What follows from prompts per step, group size and tokens per micro-batch."""
    group = getattr(stage.algorithm, "group_size", 1) if stage.sample is None else stage.sample.n
    per_step = f"{stage.prompts_per_step} prompts" + (
        f" x {group} = {stage.prompts_per_step * group} answers" if group > 1 else ""
    )
    records = prepared.records.get(stage.name)
    if records is None:
        steps = stage.steps if stage.sample is None else None
        return StagePlan(stage.name, stage.from_, None, steps, per_step, None, None, None)
    if stage.sample is not None:
        steps = ceil(len(records) / stage.prompts_per_step)
        return StagePlan(stage.name, stage.from_, len(records), steps, per_step, None, None, None)
    limit = stage.max_new_tokens or recipe.rollout.max_new_tokens
    tree, rows = _lengths(stage, records[:64], prepared, group, limit)
    share = ceil(stage.prompts_per_step / recipe.learner.ranks)
    microbatches = ceil(share * tree / recipe.learner.tokens_per_microbatch)
    return StagePlan(
        stage.name,
        stage.from_,
        len(records),
        count_steps(stage, len(records)),
        per_step,
        tree,
        rows,
        microbatches,
    )


def _lengths(
    stage: StageSection, records: Sequence[Any], prepared: Prepared, group: int, limit: int
) -> tuple[float, float]:
    """Mean tokens of a tree, and of the rows that it stands for; sampled answers at their limit."""
    trees, rows = [], []
    for record in records:
        if stage.reading == "group":
            assert isinstance(record, Sample)
            trunk = len(prepared.eyes.renderer.prompt_ids(record))
            trees.append(trunk + group * limit)
            rows.append(group * (trunk + limit))
        else:
            tree = make_tree(prepared.eyes.renderer, stage.reading, record)
            trees.append(tree.num_tokens)
            rows.append(sum(len(tree.trunk_ids) + len(b.token_ids) for b in tree.branches))
    return sum(trees) / len(trees), sum(rows) / len(rows)


def count_parameters(model: Path) -> tuple[int, int]:
    """(parameters, bytes) of a folder's safetensors files, read from their headers alone."""
    parameters = size = 0
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            count = 1
            for extent in tensor["shape"]:
                count *= extent
            parameters += count
            size += count * _BYTES.get(tensor["dtype"], 4)
    return parameters, size


def memory(recipe: Recipe, parameters: int) -> dict[str, float]:
    """MiB by owner, activations aside: each rank's weights, gradients and AdamW moments after
    ZeRO, references, engines."""
    ranks, zero = recipe.learner.ranks, recipe.learner.zero
    width = 4 if recipe.learner.dtype == "float32" else 2
    master = 0 if width == 4 else 4
    weights = parameters * width / (ranks if zero >= 3 else 1)
    gradients = parameters * width / (ranks if zero >= 2 else 1)
    moments = parameters * (8 + master) / (ranks if zero >= 1 else 1)
    where = "a rank, in CPU memory" if recipe.learner.offload else "a rank"
    copies = any(
        stage.algorithm is not None
        and stage.algorithm.needs.reference
        and (stage.is_online or stage.algorithm.needs.mismatched)
        for stage in recipe.stages
    )
    engine = parameters * (4 if recipe.rollout.dtype == "float32" else 2)
    return {
        "learner weights (a rank)": weights / _MIB,
        "learner gradients (a rank)": gradients / _MIB,
        f"AdamW moments ({where})": moments / _MIB,
        "reference copy (a rank)": (parameters * width / _MIB) if copies else 0.0,
        "engine weights (a worker)": engine / _MIB,
        "engine KV cache (a worker)": recipe.rollout.kv_cache_gib * 1024,
    }


def show_plan(recipe: Recipe, console: Console) -> None:
    """Prints the plan. Raises: what `prepare` raises; the page, data and model are checked as a
    run would."""
    prepared = prepare(recipe)
    parameters, _ = count_parameters(Path(recipe.model.path))
    console.print(
        f"model {recipe.model.path}: {parameters / 1e6:.2f} M parameters", highlight=False
    )
    _print_placement(recipe, console)
    table = Table(
        "stage", "from", "rows", "steps", "one step", "tokens a tree", "as rows", "micro-batches"
    )
    for stage in recipe.stages:
        p = plan_stage(stage, prepared, recipe)
        cells = (
            p.rows,
            p.steps,
            p.per_step,
            _round(p.tree_tokens),
            _round(p.row_tokens),
            p.microbatches,
        )
        table.add_row(p.name, p.start, *("-" if cell is None else str(cell) for cell in cells))
    console.print(table)
    for loaded in prepared.benchmarks:
        parts = {
            part: sum(item.part == part for item in loaded.items) for part in ("select", "report")
        }
        models = 1 + sum(s.algorithm is not None and s.evaluate for s in recipe.stages)
        say(
            console,
            f"benchmark {loaded.config.name}: {parts['select']} select + {parts['report']} report "
            f"questions, asked after each of {models} models",
        )
    owners = Table("memory, estimated", "MiB", title="activations aside")
    for owner, mib in memory(recipe, parameters).items():
        owners.add_row(owner, f"{mib:,.0f}")
    console.print(owners)


def _print_placement(recipe: Recipe, console: Console) -> None:
    if recipe.runtime.address is not None:
        asked = ", ".join(f"{role.count} x {role.name}" for role in roles(recipe))
        say(console, f"placement: {asked} on {recipe.runtime.address}")
        return
    placement = local_placement(recipe)
    shares = ", ".join(
        f"{role.count} x {role.name} ({role.cpus:g} CPU, {role.gpus:g} GPU)"
        for role in placement.roles
    )
    say(
        console,
        f"placement: {shares} of {placement.cluster_cpus:g} CPUs, {placement.cluster_gpus:g} GPUs",
    )


def _round(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"
