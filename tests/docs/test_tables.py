"""The pages' tables and links to lines are the code's, and no table is missing."""

from pathlib import Path

import pytest

from tests.docs.fences import PAGES, ROOT
from tests.docs.tables import TABLE, meanings_of, rewritten, sections

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


@pytest.mark.parametrize("name", WRITTEN)
def test_every_key_is_explained(name: str) -> None:
    empty = [key for key, meaning in meanings_of(WRITTEN[name][1]).items() if not meaning]
    assert not empty
