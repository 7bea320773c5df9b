"""What stands in the pages and is held to the code: tables of keys and metrics, links to lines.

    python -m tests.docs.tables

writes them again. A link to a line stands behind a name in code marks, and leads to where the name
is defined. What a key means is kept from the page; a new key gets its description from the code. A
table stands between `<!-- keys: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from evals.custom import BenchmarkFile
from recipes.schema.recipe import Recipe
from rl.plugins import find, kind_of, names
from rl.runs.metrics import METRICS
from tests.docs.fences import PAGES, ROOT

LINE = re.compile(r"\[`(?P<name>\w+)`\]\((?P<file>[^)#\s]+\.py)#L(?P<line>\d+)\)")
TABLE = re.compile(r"<!-- keys: (?P<name>[^ ]+) -->\n(?P<rows>.*?)<!-- end -->", re.DOTALL)
HEAD = "| key | values | default | meaning |\n|---|---|---|---|\n"
METRIC_HEAD = "| key | meaning |\n|---|---|\n"
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_BOUNDS["multiple_of"] = "a multiple of {}"
_WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false"}


def documented() -> list[str]:
    """The algorithms with a page. (That one which git tracks has its page: see test_tables.)"""
    found = names("rl.algorithms")
    return [name for name in found if (ROOT / "docs" / "algorithms" / f"{name}.md").exists()]


def metrics() -> dict[str, str]:
    """Every key and its sentence: the shared ones, and what documented algorithms add."""
    own = (find("rl.algorithms", name).own_metrics for name in documented())
    return {**METRICS, **{key: text for table in own for key, text in table.items()}}


def sections() -> dict[str, type[BaseModel]]:
    """Every section that a page may hold, by its shortest dotted name, and the algorithms' own."""
    walked = list(_walk("", Recipe))
    for name in documented():
        walked += _walk(name, find("rl.algorithms", name))
    for name in names("rollouts.engines"):
        walked += _walk(f"rollout.engine:{name}", find("rollouts.engines", name))
    walked += _walk("benchmark", BenchmarkFile)
    walked.sort(key=lambda pair: pair[0].count("."))
    by_model: dict[type[BaseModel], str] = {}
    for name, model in walked:
        by_model.setdefault(model, name)
    return {name: model for model, name in by_model.items()}


def _walk(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    if name:  # kinds of stages share one key: stages:algorithm, stages:sample
        yield f"{name}:{marker}" if (marker := getattr(model, "marker", "")) else name, model
    for key, field in model.model_fields.items():
        for inner in _models(field.annotation):
            yield from _walk(f"{name}.{field.alias or key}".lstrip("."), inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def table(name: str, meanings: dict[str, str]) -> str:
    """The table of a section, or of `metrics`, as it stands in a page."""
    if name == "metrics":
        return METRIC_HEAD + "".join(f"| `{key}` | {text} |\n" for key, text in metrics().items())
    rows = []
    for key, field in sections()[name].model_fields.items():
        shown = field.alias or key
        meaning = field.description or meanings.get(shown, "")
        rows.append(f"| `{shown}` | {_values(field)} | {_default(field)} | {meaning} |\n")
    return HEAD + "".join(rows)


def meanings_of(rows: str) -> dict[str, str]:
    """Key -> last column of a table as written."""
    cells = (line.strip("|").split(" | ") for line in rows.splitlines()[2:])
    return {row[0].strip(" `"): row[-1].strip(" |") for row in cells if len(row) > 1}


def _values(field: FieldInfo) -> str:
    return _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: Any = ()) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0], inner[1:])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(a, metadata) for a in inner if a is not type(None))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"list of {_type(inner[0])}"
        return f"{len(inner)} numbers"
    if origin in (dict, types.MappingProxyType):
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    packages = (item.package for item in metadata if hasattr(item, "package"))
    plugin = f"an {kind_of(package)}" if (package := next(packages, "")) else "any"
    word = _WORDS.get(annotation, plugin)
    bounds = [
        text.format(f"{getattr(item, name):g}")
        for item in metadata
        for name, text in _BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    return ", ".join([word, *bounds])


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    value = field.default
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def rewritten(page: Path) -> str:
    """The page with its tables and line numbers as the code has them."""

    def again(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- keys: {name} -->\n{table(name, meanings_of(found['rows']))}<!-- end -->"

    text = TABLE.sub(again, page.read_text(encoding="utf-8"))
    return LINE.sub(lambda found: _link(found, page), text)


def _link(found: re.Match[str], page: Path) -> str:
    """The link with the line that defines its name. Raises: LookupError where none does."""
    name, file = found["name"], found["file"]
    lines = (page.parent / file).read_text(encoding="utf-8").splitlines()
    starts = re.compile(rf"\s*(?:def |class )?{name}(?:\(|:| =)")
    line = next((n for n, line in enumerate(lines, 1) if starts.match(line)), None)
    if line is None:
        raise LookupError(f"{page.name}: {file} defines no {name}")
    return f"[`{name}`]({file}#L{line})"


def main() -> None:
    """Writes tables and line numbers of all pages again."""
    for page in PAGES:
        page.write_text(rewritten(page), encoding="utf-8")


if __name__ == "__main__":
    main()
