"""A section of the page, and the sections that a folder holds.

The folder is the registry: every module of `evals.report.sections` with a function
`section(facts) -> Section | None` is a section of the page. A new section is one file:

    # evals/report/sections/lengths.py
    from evals.report.facts import Facts
    from evals.report.page.section import Section

    def section(facts: Facts) -> Section | None:
        long = [row for row in facts.rows if (row.mean_tokens or 0) > 100]
        return Section(
            "lengths", "Lengths", 75, {"long": long},
            text="<h2>Lengths</h2>{% for row in long %}<p>{{ row.stage }}</p>{% endfor %}",
        )
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evals.report.facts import Facts

PACKAGE = "evals.report.sections"


@dataclass(frozen=True)
class Section:
    """One section of the page. `order` places it among the others (ours are 10, 20, ... 110).
    `title` names it in the navigation; without one it is laid out above the navigation.

    The template gets `values`, and everything that `page/layout.py` gives to all templates. It is
    a file beside the section's module (`template`), else a text (`text`).
    """

    id: str
    title: str
    order: float
    values: Mapping[str, Any]
    template: str = ""
    text: str = ""
    style: str = ""  # more rules for the page's one style sheet


def sections(facts: Facts) -> list[Section]:
    """Every section that has something to show for this run, in its declared order."""
    found = [made for make in _makers() if (made := make(facts)) is not None]
    return sorted(found, key=lambda section: (section.order, section.id))


def template_folders() -> list[Path]:
    """Where the templates of sections lie: beside their modules."""
    return [Path(folder) for folder in _package().__path__]


def _makers() -> Iterator[Callable[[Facts], Section | None]]:
    for found in pkgutil.iter_modules(_package().__path__):
        make = getattr(importlib.import_module(f"{PACKAGE}.{found.name}"), "section", None)
        if make is not None:
            yield make


def _package() -> ModuleType:
    return importlib.import_module(PACKAGE)
