"""The folder is the registry: names from source, finding one imports one, a user's own file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rl import plugins
from rl.errors import ConfigError

CLASS = 'from typing import ClassVar\nclass {0}:\n    name: ClassVar[str] = "{1}"\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"zoo_{tmp_path.name}".replace("-", "_")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "cat.py").write_text(CLASS.format("Cat", "cat"))
    (folder / "birds.py").write_text(
        "def call(**words):\n    return lambda function: function\n"
        "@call(name='owl')\ndef owl(): return 'hoo'\n"
        "class Crow:\n    id = 'crow'\n"
        "JAY = dict(name='jay')\n"
        "class Nest:\n    name: str = 'a field'\n"
    )
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n" + CLASS.format("B", "bad"))
    (folder / "base.py").write_text(CLASS.format("Base", "base"))
    (folder / "_own.py").write_text(CLASS.format("Own", "own"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_names_come_from_the_source(package: str) -> None:
    assert plugins.names(package) == ("bad", "cat", "crow", "jay", "owl")
    assert f"{package}.cat" not in sys.modules


def test_finding_one_imports_only_its_module(package: str) -> None:
    assert plugins.find(package, "cat").__name__ == "Cat"
    assert plugins.find(package, "crow").__name__ == "Crow"
    assert plugins.find(package, "owl")() == "hoo"
    assert plugins.name_of(plugins.find(package, "cat")) == "cat"
    assert f"{package}.broken" not in sys.modules


def test_an_unknown_name_gets_the_nearest_and_all(package: str) -> None:
    with pytest.raises(ConfigError) as error:
        plugins.find(package, "crwo")
    assert "Did you mean crow? (bad, cat, crow, jay, owl)" in str(error.value)


def test_two_plugins_of_one_name_are_an_error(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "kitten.py").write_text(CLASS.format("Kitten", "cat"))
    with pytest.raises(ConfigError, match='called "cat"'):
        plugins.names(package)


def test_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    mine = plugins.find("rl.algorithms", "./mine.py:Mine", base=tmp_path)
    assert mine.__name__ == "Mine"
    assert mine is plugins.load_attr(f"{tmp_path}/mine.py:Mine")
    assert plugins.name_of(mine) == f"{tmp_path / 'mine.py'}:Mine"


@pytest.mark.parametrize(
    ("source", "spec", "words"),
    [
        ("class Mine: pass\n", "mine.py:Mien", 'has no "Mien". Did you mean Mine?'),
        ("x = 1\n1 / 0\n", "mine.py:x", "mine.py:2: cannot be imported: ZeroDivisionError"),
        ("x = 1\ndef (\n", "mine.py:x", "mine.py:2: cannot be imported: SyntaxError"),
        ("", "none.py:x", "no file"),
        ("", "mine.py", "names no object"),
    ],
)
def test_a_users_own_file_that_fails(tmp_path: Path, source: str, spec: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ConfigError) as error:
        plugins.load_attr(spec, tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize("package", ["rl.algorithms", "rewards", "evals.benchmarks"])
def test_every_plugin_of_ours_is_found_by_its_name(package: str) -> None:
    assert plugins.names(package)
    for name in plugins.names(package):
        assert plugins.name_of(plugins.find(package, name)) == name
