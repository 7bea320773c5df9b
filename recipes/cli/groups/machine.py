"""What is here: `doctor` checks the machine, `list` names the parts that a recipe can use."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Annotated

import typer

from recipes.cli.group import Group
from rl.errors import ConfigError
from rl.plugins import names, sentences

GROUP = Group("Look up", order=50)
_PACKAGES = {
    "algorithms": "rl.algorithms",
    "rewards": "rewards",
    "benchmarks": "evals.benchmarks",
    "families": "rl.models.families",
    "formats": "rl.data.row_formats",
    "engines": "rollouts.engines",
}


@GROUP.command()
def doctor() -> None:
    """Check versions, engines, memory, cores and GPUs, and say what to do about each problem."""
    from rich.console import Console

    from recipes.planning.doctor import doctor as check

    raise typer.Exit(check(Console()))


@GROUP.command("list")
def show(
    what: Annotated[str, typer.Argument(help=" | ".join(_PACKAGES))] = "",
) -> None:
    """List algorithms, rewards, benchmarks, model families, row formats and engines with a
    sentence each."""
    if what and what not in _PACKAGES:
        raise ConfigError(
            f'nothing to list called "{what}"',
            expected=", ".join(_PACKAGES),
            do="give one of these, or nothing",
        )
    width = max(len(name) for package in _PACKAGES.values() for name in names(package))
    columns = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 10_000
    for kind in [what] if what else _PACKAGES:
        print(f"{kind}:")
        for name, sentence in sentences(_PACKAGES[kind]).items():
            head = f"  {name:<{width}}  "
            lines = textwrap.wrap(sentence, columns - len(head))
            print(head + f"\n{' ' * len(head)}".join(lines))
