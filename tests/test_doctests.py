"""Every example in a docstring of ours runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rl", "rewards", "rollouts", "evals", "recipes", "requirements")
EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)


def files_with_examples() -> list[str]:
    """The files of our packages whose text holds a `>>>`, from the top of the tree.

    A file without one is not imported, so the heavy libraries stay behind their doors.
    """
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return [str(file.relative_to(ROOT)) for file in files if EXAMPLE.search(file.read_text())]


def imported(file: str) -> ModuleType:
    """The module of that file; a script of `requirements/`, which is no package, is run as one."""
    if not file.startswith("requirements/"):
        return importlib.import_module(
            file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        )
    spec = importlib.util.spec_from_file_location(Path(file).stem + "_script", ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", files_with_examples())
def test_every_example_of_the_file_shows_what_it_says(file: str) -> None:
    runner = doctest.DocTestRunner()
    for examples in doctest.DocTestFinder(exclude_empty=True).find(imported(file)):
        runner.run(examples)
    written = len(EXAMPLE.findall((ROOT / file).read_text()))
    assert runner.tries == written, "an example is where doctest does not look for it"
    assert runner.failures == 0
