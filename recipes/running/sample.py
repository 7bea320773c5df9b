"""Draws a model's own answers, scores them, and writes preference pairs and labelled answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from recipes.engines.serving import ServingEngines
from recipes.running.console import say, stage_progress, warn_of_shared_cores
from recipes.running.prepare import prepare
from recipes.schema.recipe import Recipe
from recipes.schema.sample_stage import SampleStage
from rl.core import Sample
from rl.errors import RunError
from rl.runs.store import write_json
from rl.runtime.shared_cores import CoreUse
from rollouts.collect import collect
from rollouts.pairs import write_pairs


def sample_pairs(
    engines: ServingEngines,
    stage: SampleStage,
    records: Sequence[Sample],
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """The work of a sample stage on live engines that already serve its parent."""
    section = stage.sample
    sampling = engines.sampling(
        n=section.n,
        temperature=section.temperature,
        max_new_tokens=section.max_new_tokens or engines.recipe.rollout.max_new_tokens,
    )
    scorer, groups, tokens = engines.rewards(section.rewards), [], 0
    with stage_progress(console, stage.name, total=len(records)) as bar:
        for start in range(0, len(records), stage.prompts_per_step):
            part = records[start : start + stage.prompts_per_step]
            found, metrics = collect(engines.pool, scorer, part, sampling)
            groups += found
            tokens += int(metrics.get("tokens/generated", 0))
            bar.advance(start + len(part), len(records))
    counts = write_pairs(
        groups, folder, heldout=section.num_heldout, label_threshold=section.label_threshold
    )
    values = [s.value for _, scores in groups for s in scores if s.value is not None]
    mean = sum(values) / len(values) if values else math.nan
    say(
        console,
        f"{stage.name}: {counts.prompts:,} prompts x {section.n}, mean score {mean:.3f}; "
        f"{counts.pairs:,} pairs, {counts.heldout:,} held out, {counts.tied:,} without contrast",
    )
    if not counts.pairs:
        raise RunError(
            "no prompt has a better and a worse answer",
            where=f"stages.{stage.name}",
            do="raise sample.n or sample.temperature, or use other prompts",
        )
    drawn = sum(len(rollout.completions) for rollout, _ in groups)
    cost = {"rollouts": drawn, "tokens/generated": tokens}
    return {"counts": counts.__dict__, "mean_score": mean, "cost": cost}


def sample_alone(recipe: Recipe, out: Path, console: Console) -> None:
    """`plumbline sample`: the one sample stage of a recipe, on the recipe's model, without a
    run."""
    (stage,), cores = recipe.stages, CoreUse.now()
    assert isinstance(stage, SampleStage)
    prepared = prepare(recipe)
    warn_of_shared_cores(console, cores)
    with ServingEngines(recipe, prepared.renderer, prepared.prompts, name="sample") as engines:
        engines.serve(Path(recipe.model.path))
        facts = sample_pairs(engines, stage, prepared.records[stage.name], out, console)
    write_json(out / "sample.json", {"model": recipe.model.path, **facts})
