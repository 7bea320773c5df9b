"""Supervised fine-tuning, written out: read it, change it, run it.

python -m recipes.sft --model models/tiny --data data/scenes/sft.jsonl --out runs/my-sft
"""

from pathlib import Path

import typer

from recipes.running.console import step_line
from recipes.running.engines import Engines, open_renderer, prompts_of
from recipes.schema.recipe import recipe_of
from rl.algorithms.sft import SFT
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, train_offline
from rl.runs.checkpoint import write_checkpoint


def main(
    model: Path, data: Path, out: Path, steps: int = 100, lr: float = 1e-3, batch: int = 32
) -> None:
    """Trains `model` on the answers in `data` and writes a model folder under `out`."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer = open_renderer(recipe)
    samples = load_records([DataSource(path=str(data))], "demonstration", base=Path())
    trees = [renderer.demonstration_tree(sample) for sample in samples]  # one branch a tree

    with Engines(recipe, renderer, prompts_of(samples), name=out.name) as engines:
        plan = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        engines.learner.begin_stage(str(model), plan, needs_reference=False)
        train_offline(
            learner=engines.learner,
            algorithm=SFT(),
            trees=trees,
            plan=LoopPlan(num_steps=steps, prompts_per_step=batch, seed=0),
            on_step=lambda step, metrics: print(step_line("sft", step, steps, metrics)),
        )
        folder = write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps})
        print(f"saved {folder}; parity {engines.publish()['parity/max']:.0e}")


if __name__ == "__main__":
    typer.run(main)
