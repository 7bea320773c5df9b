"""Kahneman-Tversky optimization, written out: single answers with a label, no pairs.

    python -m recipes.kto --model runs/my-sft/step-000100 --data pairs/labelled.jsonl \
        --out runs/my-kto
"""

from pathlib import Path

import typer

from recipes.running.console import step_line
from recipes.running.engines import Engines, open_renderer, prompts_of
from recipes.schema.recipe import recipe_of
from rl.algorithms.kto import KTO
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, train_offline, with_references
from rl.runs.checkpoint import write_checkpoint


def main(model: Path, data: Path, out: Path, steps: int = 50, lr: float = 2e-5) -> None:
    """Trains `model` on answers labelled desirable or not."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), KTO(beta=0.1)
    answers = load_records([DataSource(path=str(data))], "labelled", base=Path())
    trees = [renderer.labelled_tree(answer) for answer in answers]
    if warning := algorithm.balance_warning([answer.label for answer in answers]):
        print(warning)

    with Engines(recipe, renderer, prompts_of(answers), name=out.name) as engines:
        plan = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        # z needs the reference on answers that change partners every step: a frozen copy is kept.
        engines.learner.begin_stage(str(model), plan, needs_reference=True)
        train_offline(
            learner=engines.learner,
            algorithm=algorithm,
            trees=with_references(engines.learner, trees),
            plan=LoopPlan(num_steps=steps, prompts_per_step=64, seed=0),
            on_step=lambda step, metrics: print(step_line("kto", step, steps, metrics)),
        )
        folder = write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps})
        print(f"saved {folder}; parity {engines.publish()['parity/max']:.0e}")


if __name__ == "__main__":
    typer.run(main)
