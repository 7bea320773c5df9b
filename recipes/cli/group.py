"""Groups of commands: `plumbline --help` lists each under a heading of its own.

The folder `recipes/cli/groups/` is the registry. Every file there is imported when the command
starts, so a heavy library is imported inside the command that needs it, never at the top.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from typer.core import TyperCommand

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Group:
    """Commands under one heading of `plumbline --help`. `order` sorts the headings, low first.

    A file in `recipes/cli/groups/` makes a group and adds its commands. The first sentence of a
    command's docstring is its help; its parameters are typer's:

        GROUP = Group("Read results", order=40)

        @GROUP.command()
        def gate(run: RunPath) -> None:
            '''Say what the gate decided after every stage.'''

    A command in a file of its own joins a group of another file by importing it:

        from recipes.cli.groups.results import GROUP
    """

    heading: str
    order: int
    commands: dict[str, Callable[..., Any]] = field(default_factory=dict)
    classes: dict[str, type[TyperCommand]] = field(default_factory=dict)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None
    ) -> Callable[[Function], Function]:
        """Adds the decorated function as a command called `name` (default: the function's). `cls`
        is a class of typer's commands, for one whose options are not those of its function.
        """

        def add(function: Function) -> Function:
            called = name or function.__name__.replace("_", "-")
            self.commands[called] = function
            if cls is not None:
                self.classes[called] = cls
            return function

        return add


def find_groups() -> list[Group]:
    """Every group of `recipes/cli/groups/`, in the order of the help."""
    from recipes.cli import groups

    found: dict[int, Group] = {}
    for module in pkgutil.iter_modules(groups.__path__):
        members = vars(importlib.import_module(f"{groups.__name__}.{module.name}")).values()
        found |= {id(member): member for member in members if isinstance(member, Group)}
    return sorted(found.values(), key=lambda group: group.order)
