"""Kahneman-Tversky optimization, written out: single answers with a label, no pairs.

    python -m recipes.kto --model runs/my-sft/step-000100 --data pairs/labelled.jsonl \
        --out runs/my-kto
"""

from pathlib import Path

import typer

from recipes.engines.prompts import open_renderer, prompts_of
from recipes.engines.training import TrainingEngines
from recipes.running.console import step_line
from recipes.schema.recipe import recipe_of
from rl.algorithms.kto import KTO, rotate_answers
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan, SamplingDistribution
from rl.loops import LoopPlan, batches, with_references
from rl.runs.checkpoint import write_checkpoint


def main(
    model: Path, data: Path, out: Path, steps: int = 50, lr: float = 2e-5, batch: int = 64
) -> None:
    """Trains `model` on answers labelled desirable or not."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), KTO(beta=0.1)
    answers = load_records([DataSource(path=str(data))], algorithm.needs.reading, base=Path())
    if warning := algorithm.balance_warning([answer.label for answer in answers]):
        print(warning)

    with TrainingEngines(recipe, renderer, prompts_of(answers), name=out.name) as engines:
        learner = engines.learner
        optim = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        # A frozen copy of the reference is kept: mismatched answers change in every step.
        learner.begin_stage(str(model), optim, needs_reference=True)
        plan = LoopPlan(num_steps=steps, prompts_per_step=batch, seed=recipe.run.seed)
        trees = with_references(
            learner, [renderer.labelled_tree(answer) for answer in answers], plan
        )

        for step, _, chosen in batches(trees, plan):
            rows = rotate_answers(chosen)  # each row also gets another prompt's answer, for z
            metrics = learner.step(rows, algorithm, SamplingDistribution())
            print(step_line(algorithm.name, step, steps, metrics))

        folder = write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps})
        print(f"saved {folder}; parity {engines.publish()['parity/max']:.0e}")


if __name__ == "__main__":
    typer.run(main)
