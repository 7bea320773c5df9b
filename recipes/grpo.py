"""Group-relative policy optimization, written out: sample, score, learn, publish, every step.

    python -m recipes.grpo --model runs/my-sft/step-000100 --data data/scenes/rl.jsonl \
        --out runs/my-grpo
"""

from pathlib import Path

import typer

from recipes.running.console import step_line
from recipes.running.engines import Engines, open_renderer, prompts_of
from recipes.schema.recipe import recipe_of
from rewards.base import RewardConfig
from rl.algorithms.grpo import GRPO
from rl.data.load import load_records
from rl.data.sources import DataSource
from rl.learners.base import OptimPlan
from rl.loops import LoopPlan, train_online
from rl.runs.checkpoint import write_checkpoint
from rollouts.collect import collect


def main(model: Path, data: Path, out: Path, steps: int = 50, lr: float = 1e-4) -> None:
    """Trains `model` by its own answers, scored by `exact` against the rows' solutions."""
    rewards = [RewardConfig(name="exact")]
    page = {"model": {"path": str(model)}, "rollout": {"max_new_tokens": 16}}
    recipe = recipe_of(page)
    renderer, algorithm = open_renderer(recipe), GRPO(group_size=8)
    samples = load_records([DataSource(path=str(data))], "group", base=Path())

    with Engines(recipe, renderer, prompts_of(samples), name=out.name) as engines:
        engines.serve(model)  # the workers take the model's weights; the parity gate must pass
        scorer = engines.rewards(rewards)
        plan = OptimPlan(lr=lr, total_steps=steps, schedule="constant")
        engines.learner.begin_stage(str(model), plan, needs_reference=algorithm.needs.reference)

        def gather(prompts, step):  # type: ignore[no-untyped-def]
            sampling = engines.sampling(n=8, temperature=1.0, max_new_tokens=16, step=step)
            return collect(engines.pool, scorer, prompts, sampling)

        train_online(
            learner=engines.learner,
            algorithm=algorithm,
            samples=samples,
            collect=gather,
            make_tree=renderer.rollout_tree,
            publish=lambda step: engines.publish(),
            distribution=engines.distribution(temperature=1.0),
            plan=LoopPlan(num_steps=steps, prompts_per_step=32, seed=0),
            on_step=lambda step, metrics: print(step_line("grpo", step, steps, metrics)),
        )
        print(write_checkpoint(out / f"step-{steps:06d}", engines.save, facts={"step": steps}))


if __name__ == "__main__":
    typer.run(main)
