"""The groups of `plumbline --help`: everyday commands first, and one file adds a command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipes.cli import groups
from recipes.cli.commands import first_sentence
from recipes.cli.main import app, build_app
from rl.plugins import find, names

OWN = '''
from recipes.cli.group import Group

GROUP = Group("Count", order=45)

@GROUP.command()
def count(number: int) -> None:
    """Count to a number.

    Nothing else happens.
    """
    print(*range(1, number + 1))
'''
JOINED = '''
from recipes.cli.groups.results import GROUP

@GROUP.command("last-words")
def last_words() -> None:
    """Say goodbye."""
    print("goodbye")
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are read as if they were in `recipes/cli/groups/`."""
    monkeypatch.setattr(groups, "__path__", [*groups.__path__, str(tmp_path)])
    return tmp_path


def test_the_help_begins_with_everyday_commands() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    order = ["Run a recipe:", " run ", " plan ", "Train one stage from flags:", " grpo ", " sft "]
    order += ["Evaluate a model:", " eval ", "Read results:", " report ", "Look up:", " doctor "]
    order += ["Make synthetic models and data:", " tiny "]
    assert sorted(order, key=shown.index) == order
    assert "..." not in shown.removeprefix("Usage: plumbline [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize("algorithm", names("rl.algorithms"))
def test_a_reward_is_offered_where_the_algorithm_samples(algorithm: str) -> None:
    shown = CliRunner().invoke(app, [algorithm, "--help"]).output
    assert ("--reward" in shown) == find("rl.algorithms", algorithm)().needs.online
    assert "--lr" in shown


def test_every_command_has_one_sentence() -> None:
    import typer.main

    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        sentence = first_sentence(command.help)
        assert sentence.endswith("."), sentence
        assert sentence.count(". ") == 0, sentence


def test_a_file_adds_a_group(place: Path) -> None:
    (place / "counting.py").write_text(OWN)
    app = build_app()
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.index("Read results:") < shown.index("Count:") < shown.index("Look up:")
    assert "Count to a number." in shown
    assert "Nothing else happens" not in shown
    assert CliRunner().invoke(app, ["count", "3"]).output == "1 2 3\n"


def test_a_file_adds_a_command_to_a_group(place: Path) -> None:
    from recipes.cli.groups import results

    (place / "farewell.py").write_text(JOINED)
    try:
        app = build_app()
        shown = CliRunner().invoke(app, ["--help"]).output
        assert shown.index("Read results:") < shown.index("last-words") < shown.index("Look up:")
        assert CliRunner().invoke(app, ["last-words"]).output == "goodbye\n"
    finally:
        results.GROUP.commands.pop("last-words", None)
