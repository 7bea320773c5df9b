"""How typer shows our commands, and how its errors become ours.

The help lists commands under the headings of their groups, a whole sentence each. A wrong command
or flag is one line, as every other error, and a word of another tool is answered with ours.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from recipes.cli.flags import recipe_key_of
from recipes.schema.foreign import CommandLine, advice_for_command, advice_for_key
from rl.errors import ConfigError
from rl.plugins import did_you_mean, names


class Commands(TyperGroup):
    """The `plumbline` command that holds all others (typer's `cls`)."""

    def main(self, args: Any = None, *, standalone_mode: bool = True, **kwargs: Any) -> Any:  # type: ignore[override]
        """Runs the command line. Raises: ConfigError for a command line that typer refuses."""
        try:
            code = super().main(args, standalone_mode=False, **kwargs)
        except TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # `plumbline` alone shows its help
                print(error.format_message(), file=sys.stderr)
                sys.exit(error.exit_code)
            raise usage_error(error) from None
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command of a command line. Raises: ConfigError for one that is not there."""
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None:
            advice = advice_for_command(word)
            near = "" if advice else did_you_mean(word, self.commands)
            raise ConfigError(
                f'unknown command "{word}"{near}',
                do=advice or "`plumbline --help` lists the commands",
            )
        return super().resolve_command(ctx, args)

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


def usage_error(error: TyperException) -> ConfigError:
    """Typer's complaint about a command line as an error of ours."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "plumbline"
    option = getattr(error, "option_name", "")
    if option and type(error).__name__ == "NoSuchOption":
        parameters = context.command.get_params(context) if context else []
        known = [name for item in parameters for name in item.opts]
        advice = advice_for_option(option, context, parameters) if context else ""
        # --set is so short that it is near to --beta and --seed.
        near = "" if advice else did_you_mean(option, [name for name in known if name != "--set"])
        return ConfigError(
            f"unknown option {option}{near}",
            where=_name_of(command),
            do=advice or f"`{command} --help` lists the options",
        )
    message = error.format_message().rstrip(".")
    return ConfigError(
        message[:1].lower() + message[1:],
        where=_name_of(command),
        do=f"`{command} --help` shows what it takes",
    )


def advice_for_option(option: str, context: Any, parameters: list[Any]) -> str:
    """What to write instead of an option that the command does not have, or ""."""
    explain = getattr(context.command, "explain_unknown", None)
    if explain and (why := explain(option)):
        return str(why)
    known = tuple(name for item in parameters for name in item.opts)
    if not any(item.name == "overrides" for item in parameters):
        return advice_for_key(option)
    command = _name_of(context.command_path)
    if key := recipe_key_of(option, command):
        return f"write --set {key}=..." if "--set" in known else f"write {key}=..., no dashes"
    stage = command if command in names("rl.algorithms") else ""
    return advice_for_key(option, CommandLine(options=known, stage=stage))


def _name_of(command_path: str) -> str:
    """`plumbline sft` -> `sft`: our errors begin with `plumbline:` already."""
    return command_path.partition(" ")[2]
