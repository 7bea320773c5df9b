"""The whole line as a script: SFT, pairs from the model's own answers, DPO and KTO, GRPO from the
best of them, evaluation between stages, the report.

    python -m recipes.align --model models/tiny --data data/scenes --out runs/my-line
"""

from pathlib import Path

import typer
from rich.console import Console

from recipes.running.pipeline import Pipeline
from recipes.schema.recipe import recipe_of


def main(model: Path, data: Path, out: Path, sft_steps: int = 100, rl_steps: int = 20) -> None:
    """Runs every stage; the same as a YAML page, with Python's loops and conditions at hand."""
    rl = [{"path": str(data / "rl.jsonl")}]
    exact = [{"name": "exact"}]
    offline = {"from": "sft", "data": [{"stage": "pairs"}], "lr": 2e-5, "epochs": 1}
    stages = [
        {
            "name": "sft",
            "algorithm": {"name": "sft"},
            "data": [{"path": str(data / "sft.jsonl")}],
            "lr": 1e-3,
            "steps": sft_steps,
        },
        {"name": "pairs", "from": "sft", "sample": {"n": 8, "rewards": exact}, "data": rl},
        {"name": "dpo", "algorithm": {"name": "dpo", "beta": 0.1}, **offline},
        {"name": "kto", "algorithm": {"name": "kto", "beta": 0.1}, **offline},
        {
            "name": "grpo",
            "from": "best(sft, dpo, kto)",
            "algorithm": {"name": "grpo", "group_size": 8},
            "data": rl,
            "rewards": exact,
            "lr": 1e-4,
            "steps": rl_steps,
        },
    ]
    benchmarks = [{"name": name, "path": str(data / name)} for name in ("mme", "textvqa")]
    page = {
        "run": {"name": out.name, "root": str(out.parent)},
        "model": {"path": str(model)},
        "rollout": {"max_new_tokens": 16},
        "evals": {"benchmarks": benchmarks},
        "stages": stages,
    }
    Pipeline(recipe_of(page), Console()).run()


if __name__ == "__main__":
    typer.run(main)
