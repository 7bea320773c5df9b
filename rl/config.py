"""Strict YAML pages: every key keeps its file:line, and every mistake of a page is told at once.

A page is read into `Node`s, overrides (`stages.grpo.lr=5e-5`) are laid over it, and sections
(frozen pydantic models) are built from nodes. Text is never taken for a number nor a number for
text; `1e-3` is a number; yes/no/on/off are text; `010` is text.

A field that holds a plugin (`algorithm: {name: grpo, group_size: 8}`) is annotated `Annotated[Any,
Component("rl.algorithms")]`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import core_schema

from rl import plugins
from rl.config_errors import Problems, place_of, report
from rl.config_yaml import Dumper, Node, parse_yaml
from rl.errors import ConfigError

__all__ = [
    "Component",
    "ConfigFile",
    "Node",
    "Problems",
    "Section",
    "build",
    "build_component",
    "config_of",
    "dump",
    "load_config",
    "plain",
]

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A part of a recipe: frozen, no unknown key, no nan or inf."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class ConfigFile:
    """A recipe as written, overrides laid over it."""

    path: Path
    root: Node

    def section(self, key: str) -> Node:
        """The node at a dotted key (list items by name or index); an absent one is an empty
        mapping, so that defaults hold.
        """
        node = self.root
        for step in key.split(".") if key else ():
            child = node.child(step)
            if child is None:
                return Node({}, node.where, key)
            node = child
        return node

    def has(self, key: str) -> bool:
        """Whether the dotted key stands on the page."""
        node: Node | None = self.root
        for step in key.split("."):
            node = node.child(step) if node is not None else None
        return node is not None

    def where(self, key: str) -> str:
        """`file:line key`, as an error tells the place of a dotted key."""
        node = self.section(key)
        return place_of(node.where, node.key)

    def plain(self) -> Any:
        """The page as dicts, lists and scalars."""
        return self.root.plain()


class Component:
    """Marks a field that a plugin of `package` fills: a mapping with `name` whose other keys are
    the plugin class's own.

    `algorithm: grpo` is short for `{name: grpo}`. An object built in Python is taken as it is.
    """

    def __init__(self, package: str, *, base: Path | None = None) -> None:
        self.package, self.base = package, base

    def find(self, name: str) -> Any:
        """The plugin class of that name. Raises: ConfigError."""
        return plugins.find(self.package, name, base=self.base)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        return (
            _construct(self.find, value)
            if isinstance(value, Mapping)
            else _built(value, self.package)
        )


def load_config(
    path: Path, overrides: Sequence[str] = (), *, problems: Problems | None = None
) -> ConfigFile:
    """Reads a recipe and lays the overrides over it.

    Raises: ConfigError with file:line for a missing file, broken YAML, a duplicate key or a page
    that is no mapping, and with the override's own text for one that cannot be meant. With
    `problems` the overrides' faults are gathered there instead.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "is not UTF-8 text",
            where=str(path),
            do="save the page as UTF-8, or check the path",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", where=str(path), do="check the recipe's path"
        ) from error
    root = parse_yaml(text, str(path))
    if root.value is None:
        root = replace(root, value={})
    if not isinstance(root.value, dict):
        raise ConfigError(
            "the page is no mapping",
            where=f"{path}:1",
            expected="`key: value` lines",
            do="check the path",
        )
    return ConfigFile(path, _lay_all(root, overrides, problems))


def config_of(
    values: Mapping[str, Any], overrides: Sequence[str] = (), *, origin: str = "command line"
) -> ConfigFile:
    """A page from values that a program or a command line gives, overrides laid over it. Raises:
    ConfigError.
    """
    text = yaml.dump(plain(values), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return ConfigFile(Path(), _lay_all(parse_yaml(text, origin, with_lines=False), overrides, None))


@overload
def build(cls: type[Model], source: ConfigFile | Node, where: str = "") -> Model: ...
@overload
def build(
    cls: type[Model], source: ConfigFile | Node, where: str = "", *, problems: Problems
) -> Model | None: ...
def build(
    cls: type[Model],
    source: ConfigFile | Node,
    where: str = "",
    *,
    problems: Problems | None = None,
) -> Model | None:
    """The section that a page (or the part of it at the dotted key `where`) describes.

    Raises: ConfigError listing every fault, a line each. With `problems` they are gathered there
    and None comes back.
    """
    page = source if isinstance(source, ConfigFile) else ConfigFile(Path(), source)
    node = page.section(where)
    gathered = problems if problems is not None else Problems()
    try:
        return validate(cls, node.plain() if node.value is not None else {})
    except ValidationError as error:
        report(cls, node, error, gathered)
    if problems is None:
        gathered.raise_if_any()
    return None


def build_component(
    find: Callable[[str], Any], node: Node, *, problems: Problems | None = None
) -> Any:
    """The plugin object that a mapping with `name` describes; `find` turns the name into its
    pydantic class.

    Raises: ConfigError as `build` does (or gathers it in `problems` and gives None).
    """
    gathered = problems if problems is not None else Problems()
    value = {"name": node.value} if isinstance(node.value, str) else node.plain()
    name = value.get("name") if isinstance(value, dict) else None
    try:
        return _construct(find, value)
    except ConfigError as error:
        place = node.child("name") or node
        gathered.add(place.where, place.key, error.line())
    except ValidationError as error:
        report(find(cast(str, name)), node, error, gathered)
    if problems is None:
        gathered.raise_if_any()
    return None


def validate(cls: type[Model], value: Any) -> Model:
    """The model of plain YAML values, strictly: JSON's rules, by which a list may fill a tuple but
    text no number.
    """
    return cls.model_validate_json(json.dumps(value), strict=True)


def dump(model: BaseModel | Mapping[str, Any] | Sequence[Any]) -> str:
    """The resolved page as YAML text: every default but an empty one (null) written out. `build`
    reads it back to an equal model.
    """
    return yaml.dump(plain(model), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any) -> Any:
    """A model as dicts, lists and scalars; a plugin gets its `name` first."""
    if isinstance(value, BaseModel):
        fields = {
            field.alias or key: plain(getattr(value, key))
            for key, field in type(value).model_fields.items()
            if getattr(value, key) is not None or field.default is not None
        }
        name = None if "name" in fields else plugins.name_of(type(value))
        return fields if name is None else {"name": name, **fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def _construct(find: Callable[[str], Any], value: Any) -> Any:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ConfigError(
            f"got {json.dumps(value, default=str)[:60]}",
            expected="a mapping with `name: ...`",
            do="write it as {name: ...}",
        )
    cls = find(value["name"])
    if not (isinstance(cls, type) and issubclass(cls, BaseModel)):
        raise ConfigError(
            f'"{value["name"]}" is no section class',
            expected="a pydantic model",
            do="name the class of the file",
        )
    rest = {key: item for key, item in value.items() if key != "name" or "name" in cls.model_fields}
    return validate(cls, rest)


def _built(value: Any, package: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, list)):
        raise ConfigError(
            f"got {json.dumps(value)[:60]}",
            expected=f"{plugins.kind_of(package)} as `name: ...`",
            do="write it as {name: ...}",
        )
    return value


def _lay_all(root: Node, overrides: Sequence[str], problems: Problems | None) -> Node:
    gathered = problems if problems is not None else Problems()
    for override in overrides:
        try:
            root = _lay(root, override)
        except ConfigError as error:
            gathered.add_error(error)
    if problems is None:
        gathered.raise_if_any()
    return root


def _lay(root: Node, override: str) -> Node:
    """The page with one override laid over it. Raises: ConfigError naming the override."""
    where = f"override {override}"
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise ConfigError(
            "is no override",
            where=where,
            expected="key.key=value",
            do="write it as stages.grpo.lr=5e-5",
        )
    return _replace(root, steps, parse_yaml(text, where, key.strip(), with_lines=False), where)


def _replace(node: Node, steps: Sequence[str], new: Node, where: str) -> Node:
    if not steps:
        return replace(new, key=node.key)
    step, rest = steps[0], steps[1:]
    key = f"{node.key}.{step}" if node.key else step
    if node.value is None or isinstance(node.value, dict):
        children = dict(node.value or {})
        children[step] = _replace(children.get(step, Node(None, where, key)), rest, new, where)
        return replace(node, value=children)
    if isinstance(node.value, list):
        items, index = list(node.value), node.index(step)
        if index is None:
            known = [str(name) for name in map(Node.name, items) if name is not None] or [
                str(i) for i in range(len(items))
            ]
            hint = plugins.did_you_mean(step, known)
            raise ConfigError(
                f'{node.key} has no item "{step}"{hint} ({", ".join(known) or "it is empty"})',
                where=where,
                do="name one of these",
            )
        items[index] = _replace(items[index], rest, new, where)
        return replace(node, value=items)
    raise ConfigError(
        f"{node.key} is {json.dumps(node.value)}, which has no key {step}",
        where=where,
        do="name a key that holds others",
    )
