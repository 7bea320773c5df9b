"""What a recipe comes to, before anything runs: batch arithmetic, placement, steps, memory. No
engine starts, and a config.json is enough of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from recipes.planning.actors import local_placement, roles, trains
from recipes.planning.sizes import (
    GIB,
    PROCESS,
    Architecture,
    architecture,
    cached_tokens,
    engine_bytes,
    forward_bytes,
    has_weights,
    host_bytes,
    learner_bytes,
    longest_tree,
    passing_bytes,
    publish_bytes,
)
from recipes.running.console import say
from recipes.running.prepare import Prepared, prepare
from recipes.running.run_folder import require_writable
from recipes.running.steps import count_steps, describe_steps, has_default_steps
from recipes.schema.faults import Faults
from recipes.schema.kinds import AnyStage
from recipes.schema.recipe import Recipe
from recipes.schema.sample_stage import SampleStage
from recipes.schema.train_stage import TrainStage
from rl.core import Sample
from rl.errors import ConfigError
from rl.runtime.gpu_assignment import GpuAssignment, assign_gpus

_MIB = 2**20


@dataclass(frozen=True)
class StagePlan:
    """One stage's arithmetic. Tokens are means over the first rows, or the most that
    `max_model_len` allows (`is_bound`) where no rows are read; micro-batches are a rank's.
    """

    name: str
    start: str
    rows: int | None
    steps: int | None
    per_step: str
    tree_tokens: float | None
    row_tokens: float | None
    microbatches: int | None
    is_bound: bool = False


def plan_stage(stage: AnyStage, prepared: Prepared | None, recipe: Recipe) -> StagePlan:
    """What follows from prompts per step, group size and tokens per micro-batch."""
    group = stage.answers_per_prompt
    per_step = f"{stage.prompts_per_step:,} prompts" + (
        f" x {group} = {stage.prompts_per_step * group:,} answers" if group > 1 else ""
    )
    records = None if prepared is None else prepared.records.get(stage.name)
    rows = None if records is None else len(records)
    if isinstance(stage, SampleStage):
        steps = None if rows is None else ceil(rows / stage.prompts_per_step)
        return StagePlan(stage.name, stage.from_, rows, steps, per_step, None, None, None)
    if prepared is None or records is None:
        steps, as_rows = stage.steps, None
        tree = float(longest_tree(recipe, stage))
    else:
        limit = stage.max_new_tokens or recipe.rollout.max_new_tokens
        steps = count_steps(stage, len(records))
        tree, as_rows = _lengths(stage, records[:64], prepared, group, limit)
    share = ceil(stage.prompts_per_step / recipe.learner.ranks)
    microbatches = ceil(share * min(1.0, tree / recipe.learner.tokens_per_microbatch))
    return StagePlan(
        stage.name,
        stage.from_,
        rows,
        steps,
        per_step,
        tree,
        as_rows,
        microbatches,
        is_bound=records is None,
    )


def _lengths(
    stage: TrainStage, records: Sequence[Any], prepared: Prepared, group: int, limit: int
) -> tuple[float, float]:
    """Mean tokens of a tree, and of the rows that it replaces; sampled answers at their limit."""
    trees, rows = [], []
    for record in records:
        if stage.reading == "group":
            assert isinstance(record, Sample)
            trunk = len(prepared.renderer.prompt_ids(record))
            trees.append(trunk + group * limit)
            rows.append(group * (trunk + limit))
        else:
            tree = stage.algorithm.make_tree(prepared.renderer, record)
            trees.append(tree.num_tokens)
            rows.append(sum(len(tree.trunk_ids) + len(b.token_ids) for b in tree.branches))
    return sum(trees) / len(trees), sum(rows) / len(rows)


def memory(recipe: Recipe, arch: Architecture) -> dict[str, float]:
    """MiB by owner: each rank's weights, gradients and AdamW state after ZeRO, what comes and goes
    in a pass, engines. Where nothing trains, a plain forward pass instead of the ranks.
    """
    engines = {
        f"engine {name} (a {'GPU' if recipe.rollout.gpus else 'worker'})": size / _MIB
        for name, size in engine_bytes(recipe, arch).items()
    }
    if not trains(recipe):
        forward = forward_bytes(recipe, arch) / _MIB
        return {"plain forward (before the first question)": forward, **engines}
    where = "a rank, in CPU memory" if recipe.learner.offload else "a rank"
    owners = {
        f"learner {name} ({where if name == 'AdamW' else 'a rank'})": size
        for name, size in learner_bytes(recipe, arch).items()
    }
    owners |= {
        f"learner, in {name} (a rank, at most)": size
        for name, size in passing_bytes(recipe, arch).items()
        if size
    }
    return {owner: size / _MIB for owner, size in owners.items()} | engines


def require_fit(
    recipe: Recipe, arch: Architecture, assignments: Sequence[GpuAssignment]
) -> dict[str, float]:
    """GiB that each role takes of a GPU it is on.

    Raises: ConfigError with the numbers where a GPU's actors need more than it has, or an engine's
    share does not hold its weights and one answer.
    """
    gib = recipe.hardware.gpu_gib
    stays, passes = learner_bytes(recipe, arch), passing_bytes(recipe, arch)
    if recipe.learner.offload:
        stays.pop("AdamW")
    needs = {
        "learner": (sum(stays.values()) + max(passes.values()) + PROCESS) / GIB,
        "forward": (forward_bytes(recipe, arch) + PROCESS) / GIB,
        # A judge's engine has the settings of the rollout workers'.
        **dict.fromkeys(("rollout", "judge"), recipe.rollout.engine.gpu_share(gib or 0.0)),
    }
    if gib is None:
        return needs
    if recipe.rollout.gpus and cached_tokens(recipe, arch) < recipe.rollout.max_model_len:
        engine = engine_bytes(recipe, arch)
        raise ConfigError(
            f"an engine's share of a GPU is {needs['rollout']:.1f} GiB, its weights take "
            f"{engine['weights'] / GIB:.1f} GiB and its work "
            f"{engine.get('work', 0.0) / GIB:.1f} GiB",
            where="rollout.engine",
            expected=f"room for keys and values of {recipe.rollout.max_model_len} tokens",
            do="give the engine a larger share of the GPU, or split it over several",
        )
    for place in sorted({(s.node, gpu) for s in assignments for gpu in s.gpus}):
        here = [s for s in assignments if s.node == place[0] and place[1] in s.gpus]
        asked = sum(needs[s.role] for s in here)
        if asked > gib:
            parts = [f"{s.actor} {needs[s.role]:.1f}" for s in here]
            owners = {**stays, max(passes, key=lambda k: passes[k]): max(passes.values())}
            detail = ", ".join(f"{name} {size / GIB:.1f}" for name, size in owners.items() if size)
            raise ConfigError(
                f"machine {place[0]} GPU {place[1]} needs {asked:.1f} GiB ({', '.join(parts)}; "
                f"a learner rank: {detail})",
                where="hardware.gpu_gib",
                expected=f"at most {gib:g} GiB",
                do="raise learner.zero or learner.ranks, set learner.offload: true, or lower "
                "learner.tokens_per_microbatch or the engine's share (rollout.engine)",
            )
    return needs


def show_plan(recipe: Recipe, console: Console) -> None:
    """Prints the plan. Where the model is a config.json alone, no rows are read.

    Raises: ConfigError, DataError or ModelError with a line for everything that would stop a run
    before its engines start; ConfigError where the actors do not fit on the recipe's hardware.
    """
    faults = Faults()
    with faults.at(recipe.where("run.root")):
        require_writable(Path(recipe.run.root) / recipe.run.name, "choose another run.root")
    arch = None
    with faults.at(recipe.where("model.path")):
        arch = architecture(recipe)
    is_whole = has_weights(Path(recipe.model.path))
    prepared = None
    if is_whole or arch is None:
        prepared = prepare(recipe, is_here=not recipe.hardware.gpus, faults=faults)
    faults.raise_if_any()
    assert arch is not None
    _print_model(recipe, arch, console, is_whole=is_whole)
    assignments = _print_placement(recipe, console)
    table = Table(
        *("stage", Column("from", overflow="fold"), "rows", "steps", "one step"),
        *("tokens\na tree", "as\nrows", "micro-\nbatches\na rank"),
        box=box.SIMPLE_HEAD,
    )
    for stage in recipe.stages:
        p = plan_stage(stage, prepared, recipe)
        most = "<= " if p.is_bound else ""
        cells = (
            p.rows and f"{p.rows:,}",
            p.steps and f"{p.steps:,}",
            p.per_step,
            p.tree_tokens and f"{most}{p.tree_tokens:,.0f}",
            p.row_tokens and f"{p.row_tokens:,.0f}",
            p.microbatches and f"{most}{p.microbatches:,}",
        )
        table.add_row(p.name, p.start, *("-" if cell is None else str(cell) for cell in cells))
    console.print(table)
    _print_defaults(recipe, prepared, console)
    for loaded in prepared.benchmarks if prepared else ():
        parts = {
            part: sum(item.part == part for item in loaded.items) for part in ("select", "report")
        }
        models = 1 + sum(isinstance(s, TrainStage) and s.evaluate for s in recipe.stages)
        say(
            console,
            f"benchmark {loaded.config.name}: {parts['select']:,} select + "
            f"{parts['report']:,} report questions, asked after each of {models} models",
        )
    owners = Table("memory, estimated", "MiB")
    for owner, mib in memory(recipe, arch).items():
        owners.add_row(owner, f"{mib:,.0f}")
    console.print(owners)
    if assignments:
        _print_assignments(recipe, arch, assignments, console)


def _print_defaults(recipe: Recipe, prepared: Prepared | None, console: Console) -> None:
    """The stages whose number of steps is a default, and batches that are larger than the rows."""
    for stage in recipe.stages:
        records = None if prepared is None else prepared.records.get(stage.name)
        if not isinstance(stage, TrainStage):
            continue
        if records is not None and (
            has_default_steps(stage) or stage.prompts_per_step > len(records)
        ):
            say(console, describe_steps(stage, len(records)))
        elif records is None and has_default_steps(stage):
            say(console, f"{stage.name}: 1 epoch of its rows (neither steps nor epochs given)")


def _print_model(recipe: Recipe, arch: Architecture, console: Console, *, is_whole: bool) -> None:
    text = f"model {recipe.model.path}: {_count(arch.parameters)} parameters"
    if arch.vision_parameters:
        text += f", {_count(arch.vision_parameters)} of them the vision tower's"
    if arch.trained < arch.parameters:
        text += f"; {_count(arch.trained)} are trained"
    say(console, text)
    size = publish_bytes(recipe, arch)
    shown = f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / _MIB:.1f} MiB"
    say(
        console,
        f"one publish: {shown} in {arch.num_weights} weights, by {recipe.rollout.engine.way_in}",
    )
    if not is_whole:
        say(console, "the folder holds no weights: rows, prompts and benchmarks are not read")


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.2f} M"


def _print_placement(recipe: Recipe, console: Console) -> list[GpuAssignment]:
    hardware = recipe.hardware
    if hardware.gpus:
        assignments = assign_gpus(roles(recipe), nodes=hardware.nodes, gpus=hardware.gpus)
        asked = ", ".join(
            f"{role.count} x {role.name} ({role.gpus:g} GPU)" for role in roles(recipe)
        )
        of = f"{hardware.nodes} x {hardware.gpus} GPUs"
        say(console, f"placement: {asked} of {of}")
        return assignments
    if recipe.runtime.address is not None:
        asked = ", ".join(f"{role.count} x {role.name}" for role in roles(recipe))
        say(console, f"placement: {asked} on {recipe.runtime.address}")
        return []
    placement = local_placement(recipe)
    shares = ", ".join(
        f"{role.count} x {role.name} ({role.cpus:g} CPU, {role.gpus:g} GPU)"
        for role in placement.roles
    )
    say(
        console,
        f"placement: {shares} of {placement.cluster_cpus:g} CPUs, {placement.cluster_gpus:g} GPUs",
    )
    return []


def _print_assignments(
    recipe: Recipe, arch: Architecture, assignments: Sequence[GpuAssignment], console: Console
) -> None:
    """Each GPU with its actors and what they need, then what one engine's cache holds."""
    needs = require_fit(recipe, arch, assignments)
    gib = recipe.hardware.gpu_gib
    table = Table("machine", "GPU", "actors", "GiB needed", "GiB there")
    for node, gpu in sorted({(s.node, gpu) for s in assignments for gpu in s.gpus}):
        here = [s for s in assignments if s.node == node and gpu in s.gpus]
        asked = sum(needs[s.role] for s in here)
        actors = ", ".join(s.actor for s in here)
        table.add_row(
            str(node), str(gpu), actors, f"{asked:.1f}", "-" if gib is None else f"{gib:g}"
        )
    console.print(table)
    if recipe.rollout.gpus and gib is not None:
        tokens = cached_tokens(recipe, arch)
        rows = tokens / recipe.rollout.max_model_len
        say(
            console,
            f"an engine's cache holds {tokens:,.0f} tokens: {rows:,.0f} answers of the greatest "
            f"length at once (rollout.max_num_seqs {recipe.rollout.max_num_seqs})",
        )
    if trains(recipe):
        size = host_bytes(recipe, arch) / GIB
        say(console, f"CPU memory of a machine while the learner starts: {size:.0f} GiB at least")
