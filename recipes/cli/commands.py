"""How typer shows our commands: under the headings of their groups, a whole sentence each."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """The `plumbline` command that holds all others (typer's `cls`)."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the list of `plumbline --help`: headings in the order of the groups."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            headings.setdefault(str(heading), []).append((name, first_sentence(command.help or "")))
        width = max(len(name) for name in self.commands)
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line.

    >>> first_sentence("Score a model.\\n\\nWith the engines of training.")
    'Score a model.'
    """
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
