"""Supervised fine-tuning, written out: read it, change it, run it.

python -m recipes.sft --model models/tiny --data data/scenes/sft.jsonl --out runs/my-sft
"""

from pathlib import Path

import typer

from recipes.engines.prompts import open_renderer, prompts_of
from recipes.engines.training import TrainingEngines
from recipes.running.console import step_line
from recipes.schema.recipe import recipe_of
from rl.algorithms.sft import SFT
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan, SamplingDistribution
from rl.loops import LoopPlan, batches
from rl.runs.checkpoint import write_checkpoint


def main(
    model: Path, data: Path, out: Path, steps: int = 100, lr: float = 1e-3, batch: int = 32
) -> None:
    """Trains `model` on the answers in `data` and writes a model folder under `out`."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), SFT()
    rows = load_records([DataSource(path=str(data))], algorithm.needs.reading, base=Path())
    trees = [renderer.demonstration_tree(row) for row in rows]  # one prompt, one answer

    with TrainingEngines(recipe, renderer, prompts_of(rows), name=out.name) as engines:
        learner = engines.learner
        optim = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        learner.begin_stage(str(model), optim, needs_reference=False)
        plan = LoopPlan(num_steps=steps, prompts_per_step=batch, seed=recipe.run.seed)

        for step, _, chosen in batches(trees, plan):
            metrics = learner.step(chosen, algorithm, SamplingDistribution())
            print(step_line(algorithm.name, step, steps, metrics))

        folder = write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps})
        # The inference engine takes the weights, and its log-probs are compared with the learner's.
        print(f"saved {folder}; parity {engines.publish()['parity/max']:.0e}")


if __name__ == "__main__":
    typer.run(main)
