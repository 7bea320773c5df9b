"""The pages' tables and links to lines are the code's, and no table is missing."""

import subprocess
from pathlib import Path

import pytest

from recipes.schema.recipe import Recipe
from rl.plugins import find, names
from tests.docs.fences import PAGES, ROOT
from tests.docs.tables import TABLE, documented, meanings_of, rewritten, sections

WRITTEN = {
    found["name"]: (page, found["rows"])
    for page in PAGES
    for found in TABLE.finditer(page.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_and_lines_are_the_codes(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == rewritten(page), "run python -m tests.docs.tables"


def test_every_section_has_its_table() -> None:
    assert set(WRITTEN) == {*sections(), "metrics"}


def test_every_algorithm_of_ours_has_its_page() -> None:
    """Ours are those that git tracks: a file just put into the folder needs none yet."""
    git = ["git", "-C", str(ROOT), "ls-files", "rl/algorithms"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("no git checkout")
    modules = {Path(line).stem for line in found.stdout.split()}
    ours = [n for n in names("rl.algorithms") if module_of(find("rl.algorithms", n)) in modules]
    assert set(documented()) == set(ours)


def module_of(plugin: type) -> str:
    return plugin.__module__.rpartition(".")[2]


def test_every_key_of_a_recipe_is_explained_where_it_is_declared() -> None:
    """The keys of algorithms may be explained in the algorithm's document alone."""
    models = [Recipe, *sections().values()]
    empty = [
        f"{model.__module__}.{model.__name__}.{key}"
        for model in models
        if not model.__module__.startswith("rl.algorithms.")
        for key, field in model.model_fields.items()
        if not field.description
    ]
    assert not empty


@pytest.mark.parametrize("name", WRITTEN)
def test_every_key_is_explained(name: str) -> None:
    empty = [key for key, meaning in meanings_of(WRITTEN[name][1]).items() if not meaning]
    assert not empty
