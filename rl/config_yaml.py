"""YAML text -> nodes that know their file and line.

The scalars are those of YAML 1.2, so that `no` is text and `1e-3` a number. PyYAML reads YAML 1.1,
where `no` is false, `010` is 8 and `1e-3` is text. Duplicate keys and unknown tags are refused.

>>> node = parse_yaml("run:\\n  seed: 1\\n  name: no\\n", "grpo.yaml")
>>> node.plain(), node.child("run").child("name").where
({'run': {'seed': 1, 'name': 'no'}}, 'grpo.yaml:3')
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from rl.errors import ConfigError

Scalar = str | bool | int | float | None

# (tag, pattern, the characters with which such a scalar may begin, how it is read). "\0" means
# the empty scalar.
_SCALARS: tuple[tuple[str, str, str, Callable[[str], Scalar]], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN\0", lambda _: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789", int),
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
)
_TAG = "tag:yaml.org,2002:"
_READ: dict[str, Callable[[str], Scalar]] = {_TAG + name: read for name, _, _, read in _SCALARS} | {
    _TAG + "str": str
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}  # type: ignore[misc]


class Dumper(yaml.SafeDumper):
    """Writes text in quotes wherever YAML 1.1 or 1.2 would read a number, a bool or null, so that
    every reader reads it back as text. Writes no aliases.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {  # type: ignore[misc]
        key: list(value) for key, value in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Writes text with escapes where it holds characters that YAML would fold or drop."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar(_TAG + "str", text, style=style)


Dumper.add_representer(str, _write_text)
for _name, _pattern, _first, _ in _SCALARS:
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(
            _TAG + _name, re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
        )


@dataclass(frozen=True)
class Node:
    """A value of the YAML with its place."""

    value: Scalar | dict[str, Node] | list[Node]
    where: str  # `file:line`, or the override that set it
    key: str = ""  # dotted: `stages.grpo.lr`

    def child(self, step: str) -> Node | None:
        """The value under that key; in a list the item with that `name`, or at that index."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list):
            index = self.index(step)
            return None if index is None else self.value[index]
        return None

    def index(self, step: str) -> int | None:
        """The index of this list's item with the `name` `step`, or `step` as an index; None if
        absent.
        """
        items = self.value if isinstance(self.value, list) else []
        by_name = [i for i, item in enumerate(items) if item.name() == step]
        if by_name:
            return by_name[0]
        return int(step) if step.isascii() and step.isdigit() and int(step) < len(items) else None

    def name(self) -> str | None:
        """The `name` of a mapping that has one."""
        found = self.value.get("name") if isinstance(self.value, dict) else None
        return found.value if found is not None and isinstance(found.value, str) else None

    def items(self) -> list[Node]:
        """The items of a list; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> Any:
        """Dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def parse_yaml(text: str, origin: str, key: str = "", *, with_lines: bool = True) -> Node:
    """The root node of the text.

    `origin` is the name of the file, to which line numbers are added; without lines it is whatever
    the text came from. Raises: ConfigError with the place of the fault.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}:{mark.line + 1}" if mark is not None and with_lines else origin
        raise ConfigError(
            f"broken YAML: {error.problem or error.context}",
            where=where,
            do="fix the line" if with_lines else "fix the value",
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"broken YAML: {str(error).splitlines()[0]}",
            where=origin,
            do="fix the file",
        ) from error
    if root is None:
        return Node(None, f"{origin}:1" if with_lines else origin, key)
    return _Reader(origin, with_lines).read(root, key, root, ())


class _Reader:
    """Turns PyYAML's nodes into ours."""

    def __init__(self, origin: str, with_lines: bool) -> None:
        self.origin, self.with_lines = origin, with_lines

    def where(self, node: yaml.Node) -> str:
        return f"{self.origin}:{node.start_mark.line + 1}" if self.with_lines else self.origin

    def read(self, node: yaml.Node, key: str, at: yaml.Node, above: tuple[int, ...]) -> Node:
        """The node of a value. `at` is its key, whose line is named in faults; `above` are the ids
        of the values around it, by which an alias that holds itself is found.
        """
        where = self.where(at)
        if id(node) in above:
            raise ConfigError(
                f"{key}: an alias that holds itself",
                where=where,
                do="write the value out",
            )
        if len(above) > 100:
            raise ConfigError(
                f"{key}: nested more than 100 deep",
                where=where,
                do="write it flatter",
            )
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return Node(self._mapping(node, key, above), where, key)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            items = [
                self.read(item, _join(key, str(i)), item, above)
                for i, item in enumerate(node.value)
            ]
            return Node([_named(item, key) for item in items], where, key)
        if isinstance(node, yaml.ScalarNode) and node.tag in _READ:
            try:
                return Node(_READ[node.tag](node.value), where, key)
            except ValueError as error:
                raise ConfigError(
                    f"{key}: {str(error).splitlines()[0]}",
                    where=where,
                    do="fix the value",
                ) from error
        raise ConfigError(
            f"{key}: tag {node.tag} is not allowed",
            where=where,
            expected="plain YAML values",
            do="take the tag out",
        )

    def _mapping(self, node: yaml.MappingNode, key: str, above: tuple[int, ...]) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(
                    f"{key or 'the recipe'}: a key must be one word",
                    where=self.where(key_node),
                    do="write `key: value`",
                )
            name = key_node.value
            if name in children:
                first = children[name].where.rpartition(":")[2] if self.with_lines else ""
                seen = f" (first at line {first})" if first else ""
                raise ConfigError(
                    f"duplicate key {_join(key, name)}{seen}",
                    where=self.where(key_node),
                    do="keep one of the two",
                )
            children[name] = self.read(value_node, _join(key, name), key_node, above)
        return children


def _join(key: str, step: str) -> str:
    return f"{key}.{step}" if key else step


def _named(item: Node, key: str) -> Node:
    """The item of a list under its name, if it has one: `stages.grpo` instead of `stages.4`."""
    name = item.name()
    return item if name is None else _rename(item, item.key, _join(key, name))


def _rename(node: Node, old: str, new: str) -> Node:
    """The node with `new` for `old` at the start of its key, and of all keys below it."""
    value = node.value
    if isinstance(value, dict):
        value = {name: _rename(child, old, new) for name, child in value.items()}
    elif isinstance(value, list):
        value = [_rename(child, old, new) for child in value]
    return Node(value, node.where, new + node.key.removeprefix(old))
