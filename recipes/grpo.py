"""Group-relative policy optimization, written out: sample, score, advantages, update, publish.

    python -m recipes.grpo --model runs/my-sft/step-000100 --data data/scenes/rl.jsonl \
        --out runs/my-grpo
"""

from pathlib import Path

import typer

from recipes.engines.prompts import open_renderer
from recipes.engines.training import TrainingEngines
from recipes.running.console import step_line
from recipes.schema.recipe import recipe_of
from rewards.base import RewardConfig
from rl.algorithms.advantages import group_advantages
from rl.algorithms.grpo import GRPO
from rl.core import Sampling
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, batches
from rl.runs.checkpoint import write_checkpoint
from rollouts.collect import group_metrics


def main(
    model: Path, data: Path, out: Path, steps: int = 50, lr: float = 1e-4, batch: int = 32
) -> None:
    """Trains `model` on its own answers, scored by `exact` against the rows' solutions."""
    recipe = recipe_of({"model": {"path": str(model)}})
    renderer, algorithm = open_renderer(recipe), GRPO(group_size=8)
    prompts = load_records([DataSource(path=str(data))], algorithm.needs.reading, base=Path())
    with TrainingEngines(recipe, renderer, prompts, name=out.name) as engines:
        engines.serve(model)  # the workers take the model's weights; the parity gate must pass
        rewards = engines.rewards([RewardConfig(name="exact")])
        optim = OptimPlan(lr=lr, total_steps=steps, schedule="constant")
        engines.learner.begin_stage(str(model), optim, needs_reference=False)
        plan = LoopPlan(num_steps=steps, prompts_per_step=batch, seed=recipe.run.seed)

        for step, _, chosen in batches(prompts, plan, distinct=True):
            sampling = Sampling(n=algorithm.group_size, max_new_tokens=16, step=step)
            rollouts = engines.pool.sample(chosen, sampling)
            scores = rewards.score(rollouts)
            trees = []
            for rollout, group in zip(rollouts, scores, strict=True):
                advantages = group_advantages([score.value for score in group], algorithm.scale)
                tree = renderer.rollout_tree(rollout, group)
                trees.append(tree.with_column("advantage", advantages))
            distribution = engines.distribution(sampling.temperature)
            metrics = dict(engines.learner.step(trees, algorithm, distribution))
            metrics.update(group_metrics(list(zip(rollouts, scores, strict=True))))
            metrics.update(engines.publish())  # the workers take the new weights
            print(step_line(algorithm.name, step, steps, metrics))
        print(write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps}))


if __name__ == "__main__":
    typer.run(main)
