"""Direct preference optimization, written out: read it, change it, run it.

    python -m recipes.dpo --model runs/my-sft/step-000100 --data pairs/preference.jsonl \
        --heldout pairs/heldout.jsonl --out runs/my-dpo
"""

from pathlib import Path

import typer

from recipes.running.console import step_line
from recipes.running.engines import Engines, open_renderer, prompts_of
from recipes.schema.recipe import recipe_of
from rl.algorithms.dpo import DPO
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, implicit_rewards, train_offline, with_references
from rl.runs.checkpoint import write_checkpoint


def main(
    model: Path, data: Path, heldout: Path, out: Path, steps: int = 50, lr: float = 2e-5
) -> None:
    """Trains `model` on preference pairs and measures it on pairs that it never saw."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), DPO(beta=0.1)
    pairs = load_records([DataSource(path=str(data))], "preference", base=Path())
    unseen = load_records([DataSource(path=str(heldout))], "preference", base=Path())
    trees = [renderer.preference_tree(pair) for pair in pairs]  # chosen and rejected: 2 branches
    unseen_trees = [renderer.preference_tree(pair) for pair in unseen]

    with Engines(recipe, renderer, prompts_of(pairs), name=out.name) as engines:
        plan = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        engines.learner.begin_stage(str(model), plan, needs_reference=False)
        trees = with_references(
            engines.learner, trees
        )  # before the first update: policy = reference
        unseen_trees = with_references(engines.learner, unseen_trees)
        train_offline(
            learner=engines.learner,
            algorithm=algorithm,
            trees=trees,
            plan=LoopPlan(num_steps=steps, prompts_per_step=32, seed=0),
            on_step=lambda step, metrics: print(step_line("dpo", step, steps, metrics)),
        )
        rewards = implicit_rewards(engines.learner, unseen_trees, algorithm.beta)
        right = sum(chosen > rejected for chosen, rejected in rewards) / len(rewards)
        folder = write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps})
        print(f"accuracy on unseen pairs {right:.3f}; saved {folder}")
        print(f"parity {engines.publish()['parity/max']:.0e}")


if __name__ == "__main__":
    typer.run(main)
