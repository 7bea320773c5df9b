"""Train one stage from flags: a command for each algorithm, and `sample`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from recipes.cli.flags import recipe_from_flags
from recipes.cli.group import Group
from recipes.cli.parameters import MaxPixels, ModelPath, NoParity, SetOption
from rl.plugins import find, names

GROUP = Group("Train one stage from flags", order=20)


class OneStage(TyperCommand):
    """The command of one algorithm: it has `--reward` where the algorithm samples while it trains.

    The algorithm is imported when the command is used, not for the list of all commands.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """The options that the algorithm reads."""
        params = super().get_params(ctx)
        if find("rl.algorithms", str(self.name))().needs.online:
            return params
        return [param for param in params if param.name != "reward"]

    def explain_unknown(self, option: str) -> str:
        """Why an option would have no effect on this algorithm, or ""."""
        from recipes.schema.train_stage import no_effect

        word = option.lstrip("-").replace("-", "_")
        key = "rewards" if word == "reward" else word
        return no_effect(key, {"algorithm": find("rl.algorithms", str(self.name))()})


def one_stage(algorithm: str) -> Callable[..., None]:
    """The command that runs one stage of the algorithm of that name."""

    def command(
        model: Annotated[Path, typer.Option(help="A model folder.")],
        data: Annotated[list[Path], typer.Option(help="Rows (JSONL, Parquet, ...).")],
        out: Annotated[Path, typer.Option(help="Run folder.")],
        steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
        epochs: Annotated[float | None, typer.Option(help="Passes over the rows.")] = None,
        lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
        reward: Annotated[list[str] | None, typer.Option("--reward", help="A reward.")] = None,
        max_pixels: MaxPixels = None,
        overrides: SetOption = None,
        resume: Annotated[bool, typer.Option(help="Continue an unfinished run.")] = False,
    ) -> None:
        from rich.console import Console

        from recipes.running.pipeline import Pipeline

        stage = {
            "name": algorithm,
            "algorithm": {"name": algorithm},
            "data": [{"path": str(path)} for path in data],
            "rewards": [{"name": name} for name in reward] if reward else None,
            "steps": steps,
            "epochs": epochs,
            "lr": lr,
        }
        recipe = recipe_from_flags(
            model, out, max_pixels=max_pixels, overrides=overrides, stages=[stage]
        )
        Pipeline(recipe, Console(), resume=resume).run()

    command.__doc__ = f"Run one {algorithm.upper()} stage."
    return command


for _name in names("rl.algorithms"):
    GROUP.command(_name, cls=OneStage)(one_stage(_name))


@GROUP.command()
def sample(
    model: ModelPath,
    data: Annotated[Path, typer.Option(help="Prompts with solutions (JSONL).")],
    out: Annotated[Path, typer.Option(help="Folder for the pairs.")],
    reward: Annotated[list[str], typer.Option("--reward", help="A reward's name.")],
    n: Annotated[int, typer.Option("--n", "-n", help="Answers a prompt.")] = 8,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
    num_heldout: Annotated[int, typer.Option(help="Pairs kept out of training.")] = 0,
    max_pixels: MaxPixels = None,
    no_parity: NoParity = False,
    overrides: SetOption = None,
) -> None:
    """Sample a model's own answers and write preference pairs and labelled answers."""
    from rich.console import Console

    from recipes.running.run_folder import require_writable
    from recipes.running.sample import sample_alone

    section = {
        "n": n,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "num_heldout": num_heldout,
        "rewards": [{"name": name} for name in reward],
    }
    stage = {"name": "pairs", "sample": section, "data": [{"path": str(data)}]}
    require_writable(out)
    recipe = recipe_from_flags(
        model,
        out / "sample",
        max_pixels=max_pixels,
        overrides=overrides,
        parity={"without_learner": False if no_parity else None},
        stages=[stage],
    )
    sample_alone(recipe, out, Console())
