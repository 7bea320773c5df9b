"""Direct preference optimization, written out: read it, change it, run it.

    python -m recipes.dpo --model runs/my-sft/step-000100 --data pairs/preference.jsonl \
        --heldout pairs/heldout.jsonl --out runs/my-dpo
"""

from pathlib import Path

import typer

from recipes.engines.prompts import open_renderer, prompts_of
from recipes.engines.training import TrainingEngines
from recipes.running.console import step_line
from recipes.schema.recipe import recipe_of
from rl.algorithms.dpo import DPO
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan, SamplingDistribution
from rl.loops import LoopPlan, batches, implicit_rewards, with_references
from rl.runs.checkpoint import write_checkpoint


def main(
    model: Path,
    data: Path,
    heldout: Path,
    out: Path,
    steps: int = 50,
    lr: float = 2e-5,
    batch: int = 32,
) -> None:
    """Trains `model` on preference pairs and measures it on pairs that it never saw."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), DPO(beta=0.1)
    pairs, unseen = (
        load_records([DataSource(path=str(path))], algorithm.needs.reading, base=Path())
        for path in (data, heldout)
    )

    with TrainingEngines(recipe, renderer, prompts_of(pairs), name=out.name) as engines:
        learner = engines.learner
        optim = OptimPlan(lr=lr, total_steps=steps, warmup_steps=steps // 20)
        learner.begin_stage(str(model), optim, needs_reference=False)
        plan = LoopPlan(num_steps=steps, prompts_per_step=batch, seed=recipe.run.seed)
        # Before the first update the policy is the reference: its log-probs are computed once.
        trees = with_references(learner, [renderer.preference_tree(pair) for pair in pairs], plan)
        unseen_trees = with_references(learner, [renderer.preference_tree(pair) for pair in unseen])

        for step, _, chosen in batches(trees, plan):
            metrics = learner.step(chosen, algorithm, SamplingDistribution())
            print(step_line(algorithm.name, step, steps, metrics))

        rewards = implicit_rewards(learner, unseen_trees, algorithm.beta)
        right = sum(better > worse for better, worse in rewards) / len(rewards)
        print(f"accuracy on unseen pairs {right:.3f}; parity {engines.publish()['parity/max']:.0e}")
        print(write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps}))


if __name__ == "__main__":
    typer.run(main)
