"""Lays sections out on one HTML page. All text from models and data is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evals.report.display import charts, figures
from evals.report.display.glossary import TERMS
from evals.report.display.visible import visible
from evals.report.files import write_script, write_text
from evals.report.page.section import Section, template_folders

HERE = Path(__file__).parent
# The scripts run inside one function, in this order.
SCRIPTS = ("text.js", "data.js", "live.js", "sections.js", "cards.js", "browser.js")
OPEN_BENCHMARKS = 4  # with more of them, only the first ones' details are open


def lay_out(sections: Sequence[Section], *, title: str, is_running: bool) -> str:
    """The whole page as one string: the sections without a title, the navigation, the others."""
    return fill(
        "page.html.j2",
        extra_style="\n".join(section.style for section in sections if section.style),
        title=title,
        is_running=is_running,
        top=[_html(section) for section in sections if not section.title],
        sections=[section for section in sections if section.title],
        main=[_html(section) for section in sections if section.title],
    )


def write_page(folder: Path, text: str) -> None:
    """Writes `index.html` with its stamp, and the stamp beside it: the page's own hash. An open
    page that finds another stamp beside it loads itself again.
    """
    stamp = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    write_text(folder / "index.html", text.replace('data-stamp=""', f'data-stamp="{stamp}"', 1))
    (folder / "data").mkdir(exist_ok=True)
    write_script(folder / "data" / "stamp.js", "stamp", stamp)


def _html(section: Section) -> Markup:
    """One section, from its own template."""
    environment = _environment(tuple(template_folders()))
    if section.template:
        return Markup(environment.get_template(section.template).render(section.values))
    inside = environment.from_string(section.text).render(section.values)
    return Markup(f'<section id="{_anchor(section.id)}">\n{inside}\n</section>')


def fill(
    template: str, *, folders: Sequence[Path] = (), extra_style: str = "", **values: Any
) -> str:
    """A page of a template, with the one style sheet and the scripts that its policy names. The
    template is beside this module, or in one of `folders`.
    """
    style = f"\n{_static('style.css')}\n{extra_style}\n"
    early = _static("theme.js")
    script = "".join(['"use strict";\n(() => {\n', *map(_static, SCRIPTS), "})();\n"])
    return (
        _environment(tuple(folders))
        .get_template(template)
        .render(
            style=Markup(style),
            style_hash=_digest(style),
            early=Markup(early),
            script=Markup(script),
            script_hashes=[_digest(early), _digest(script)],
            **values,
        )
    )


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    """Templates of this folder and of these, with what all of them may use."""
    environment = Environment(
        loader=FileSystemLoader([HERE / "templates", *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=visible, anchor=_anchor)
    environment.globals.update(f=figures, charts=charts, terms=TERMS, many=OPEN_BENCHMARKS)
    return environment


def _anchor(name: str) -> str:
    """A term's name as the end of an address."""
    return re.sub(r"\W+", "-", name).strip("-")


def _static(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
