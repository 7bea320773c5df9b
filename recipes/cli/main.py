"""The `plumbline` command: its entry point, exit codes and errors of one line.

The commands are in `recipes/cli/groups/`, one file a group. The exit code is 0, 2 for a user's
mistake, 3 for a failed gate and 1 otherwise.
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Annotated

import typer

from recipes.cli.commands import Commands
from recipes.cli.group import find_groups
from rl.errors import PlumblineError


class _State:
    debug = False


def build_app() -> typer.Typer:
    """The command with every group of `recipes/cli/groups/`."""
    app = typer.Typer(
        cls=Commands,
        name="plumbline",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for group in find_groups():
        for name, function in group.commands.items():
            cls = group.classes.get(name)
            app.command(name, cls=cls, rich_help_panel=group.heading)(function)
    return app


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Align vision-language models and measure after every stage whether they became better."""
    _State.debug = debug


app = build_app()


def main() -> None:
    """Runs the command; turns our errors into one line and an exit code."""
    try:
        app()
    except PlumblineError as error:
        if _State.debug:
            traceback.print_exc()
            print(getattr(error, "remote_traceback", ""), file=sys.stderr)
        print(f"plumbline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if _State.debug:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename else ""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free some space, then continue with --resume" if is_full else ""
        print(f"plumbline: {place}{error.strerror or error}{advice}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("plumbline: interrupted", file=sys.stderr)
        sys.exit(130)
