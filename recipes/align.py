"""All stages as a script: SFT, pairs from the model's own answers, DPO and KTO, GRPO from the best
of them, evaluation between the stages, and the report.

    python -m recipes.align --model models/tiny --data data/scenes --out runs/my-alignment
"""

from pathlib import Path

import typer
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import recipe_of


def main(model: Path, data: Path, out: Path, sft_steps: int = 100, rl_steps: int = 20) -> None:
    """Runs every stage. A YAML recipe says the same; here Python's loops and conditions can be
    used."""
    rl = [{"path": str(data / "rl.jsonl")}]
    exact, answers = [{"name": "exact"}], 8  # the reward, and how many answers to each prompt
    offline = {"from": "sft", "data": [{"stage": "pairs"}], "lr": 2e-5, "epochs": 1}
    stages = [
        {
            "name": "sft",
            "algorithm": {"name": "sft"},
            "data": [{"path": str(data / "sft.jsonl")}],
            "lr": 1e-3,
            "steps": sft_steps,
        },
        {"name": "pairs", "from": "sft", "sample": {"n": answers, "rewards": exact}, "data": rl},
        {"name": "dpo", "algorithm": {"name": "dpo"}, **offline},
        {"name": "kto", "algorithm": {"name": "kto"}, **offline},
        {
            "name": "grpo",
            "from": "best(sft, dpo, kto)",
            "algorithm": {"name": "grpo", "group_size": answers},
            "data": rl,
            "rewards": exact,
            "lr": 1e-4,
            "steps": rl_steps,
        },
    ]
    benchmarks = [{"name": name, "path": str(data / name)} for name in ("mme", "textvqa")]
    recipe = {
        "run": {"name": out.name, "root": str(out.parent)},
        "model": {"path": str(model)},
        "rollout": {"max_new_tokens": 16},
        "evals": {"benchmarks": benchmarks},
        "stages": stages,
    }
    Pipeline(recipe_of(recipe), Console()).run()


if __name__ == "__main__":
    typer.run(main)
