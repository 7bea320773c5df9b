"""Group-relative policy optimization, written out: sample, score, learn, publish, every step.

    python -m recipes.grpo --model runs/my-sft/step-000100 --data data/scenes/rl.jsonl \
        --out runs/my-grpo
"""

from pathlib import Path

import typer

from recipes.build import Line, open_eyes, prompts_of
from recipes.config import recipe_of
from recipes.console import step_line
from rewards.base import RewardConfig
from rl.algorithms.grpo import GRPO
from rl.data.formats import load_records
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
    eyes, algorithm = open_eyes(recipe), GRPO(group_size=8)
    samples = load_records([DataSource(path=str(data))], "group", base=Path())

    with Line(recipe, eyes, prompts_of(samples), name=out.name) as line:
        line.serve(model)  # the workers take the model's weights; the parity gate must pass
        scorer = line.rewards(rewards)
        plan = OptimPlan(lr=lr, total_steps=steps, schedule="constant")
        line.learner.begin_stage(str(model), plan, needs_reference=algorithm.needs.reference)

        def gather(prompts, step):  # type: ignore[no-untyped-def]
            sampling = line.sampling(n=8, temperature=1.0, max_new_tokens=16, step=step)
            return collect(line.pool, scorer, prompts, sampling)

        train_online(
            learner=line.learner,
            algorithm=algorithm,
            samples=samples,
            collect=gather,
            make_tree=eyes.renderer.rollout_tree,
            publish=lambda step: line.publish(),
            view=line.view(temperature=1.0),
            plan=LoopPlan(num_steps=steps, prompts_per_step=32, seed=0),
            on_step=lambda step, metrics: print(step_line("grpo", step, steps, metrics)),
        )
        print(write_checkpoint(out / f"step-{steps:06d}", line.save, facts={"step": steps}))


if __name__ == "__main__":
    typer.run(main)
