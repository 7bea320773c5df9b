"""Gathers the faults of a recipe and reports all of them at once, each on a line with its place.

    grpo.yaml:14 algorithm.clip_hgih: unknown key. Did you mean clip_high? (group_size, ...)

Pydantic finds the faults; this module finds the line of each, and says it in plain words.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from rl.config_yaml import Node
from rl.errors import ConfigError, PlumblineError
from rl.plugins import did_you_mean

# The type of a pydantic error that says that a key has no effect; its message is given as it is.
NO_EFFECT = "no_effect"
_NAMES = re.compile(r" \((?:[\w.@/-]+, )+[\w.@/-]+\)")  # " (name, from, data)"
_PLAIN = {
    "a valid integer": "a whole number",
    "a valid string": "text",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid dictionary": "a mapping",
    "an object": "a mapping",
}


class Problems:
    """Gathers faults, so that a user sees all of them at once.

    >>> problems = Problems()
    >>> problems.add("grpo.yaml:14", "stages.grpo.lr", "got -1; expected a number above 0")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    rl.errors.ConfigError: grpo.yaml:14 stages.grpo.lr: got -1; expected a number above 0
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, key: str, what: str) -> None:
        """One fault: `where key: what`."""
        place = place_of(where, key)
        line = f"{place}: {what}" if place else what
        if line not in self.lines:
            self.lines.append(line)

    def add_error(self, error: PlumblineError) -> None:
        """The lines of an error that was raised elsewhere."""
        for line in error.line().splitlines():
            if line not in self.lines:
                self.lines.append(line)

    def raise_if_any(self) -> None:
        """Raises: ConfigError that lists them all."""
        if self.lines:
            raise ConfigError("\n".join(with_lists_once(self.lines)))


def with_lists_once(lines: Iterable[str]) -> list[str]:
    """The lines, each list of known names written out only in the first line that has it.

    >>> with_lists_once(["sed: unknown key (run, model)", "x: unknown key (run, model)"])
    ['sed: unknown key (run, model)', 'x: unknown key (see the names above)']
    """
    seen: set[str] = set()

    def once(found: re.Match[str]) -> str:
        if found.group() not in seen:
            seen.add(found.group())
            return found.group()
        has_hint = found.string[: found.start()].endswith("?")  # Did you mean ...?
        return "" if has_hint else " (see the names above)"

    return [_NAMES.sub(once, line) for line in lines]


def place_of(where: str, key: str) -> str:
    """`where key`, or `where` alone where that is the key's own override.

    >>> place_of("grpo.yaml:14", "stages.grpo.lr"), place_of("override run.seed=x", "run.seed")
    ('grpo.yaml:14 stages.grpo.lr', 'override run.seed=x')
    """
    return where if not key or where.startswith(f"override {key}=") else f"{where} {key}"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """`unknown key. Did you mean X? (all keys)`."""
    known = list(known)
    return f"unknown key{did_you_mean(key, known)} ({', '.join(known) or 'it takes no keys'})"


def report(cls: type[BaseModel], node: Node, error: ValidationError, problems: Problems) -> None:
    """Adds each of pydantic's faults, in our words and with the place of its key."""
    merged: dict[tuple[str, str], list[str]] = {}
    for fault in error.errors(include_url=False):
        where, key, what = _line(cls, node, fault)
        merged.setdefault((where, key), []).append(what)
    for (where, key), messages in merged.items():
        if key and any(other.startswith(f"{key}.") for _, other in merged):
            continue  # another arm of a union: a fault inside the value says more
        problems.add(where, key, _either(messages))


_Owner = tuple[type[BaseModel], Node]  # a section's class, and what the recipe has of it


def _line(cls: type[BaseModel], node: Node, fault: Any) -> tuple[str, str, str]:
    kind, place, key = fault["type"], node, node.key
    owners: list[_Owner] = []  # the sections on the way to the fault, outermost first
    location = list(fault["loc"])
    annotation: Any = cls
    for depth, step in enumerate(location):
        inner = _inside(annotation, step, place)
        child = _step(place, step)
        if child is None:
            if depth == len(location) - 1 and step in _names(annotation):
                key = _join(key, str(step))
                if kind == "missing":
                    return place.where, key, f"missing; expected {_type_name(inner)}"
            annotation = inner if inner is not None else annotation
            continue  # the tag of a union's arm is no key of the recipe
        if _is_section(annotation):
            owners.append((annotation, place))
        place, key, annotation = child, child.key, inner
    if kind == "extra_forbidden":
        return place.where, key, _unknown(str(location[-1]), owners)
    return place.where, key, _words(fault, place)


def _unknown(key: str, owners: list[_Owner]) -> str:
    """What to say of a key that the innermost section does not have: where else it belongs, why it
    has no place there, or the nearest key.
    """
    owner, node = owners[-1]
    # Of the outermost section every part is looked through, of others those that are written.
    parts = [name for name in _names(owner) if len(owners) == 1 or node.child(name)]
    places = [
        _join(node.key, f"{name}.{key}")
        for name in parts
        if key in _names(_inside(owner, name, node))
    ]
    explain = getattr(owner, "explain_unknown", None)
    if not places and explain is not None and (why := explain(key)):
        return str(why)
    if len(owners) > 1 and key in _names(owners[-2][0]):
        places.append(_join(owners[-2][1].key, key))
    if places:
        return f"unknown key. Write it as {' or '.join(places)}"
    # Another tool's word first: the nearest of ours by spelling would be a wrong one.
    advise = getattr(owners[0][0], "advise_on", None)
    if advise is not None and (advice := advise(key)):
        return f"unknown key. {advice[:1].upper()}{advice[1:]}"
    return unknown_key(key, _names(owner))


def _names(annotation: Any) -> list[str]:
    """The keys of a section as a recipe writes them; none of any other type."""
    fields = annotation.model_fields if _is_section(annotation) else {}
    return [field.alias or name for name, field in fields.items()]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _join(key: str, step: str) -> str:
    return f"{key}.{step}" if key else step


def _step(node: Node, step: Any) -> Node | None:
    if isinstance(node.value, list):
        return node.value[step] if isinstance(step, int) and step < len(node.value) else None
    return node.value.get(str(step)) if isinstance(node.value, dict) else None


def _inside(annotation: Any, step: Any, node: Node) -> Any:
    """The type of the member `step` of a value of type `annotation`; None where it is unknown."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        by_alias = {field.alias: field for field in fields.values() if field.alias}
        field = fields.get(str(step)) or by_alias.get(str(step))
        if field is None:
            return None
        finder = next((m for m in field.metadata if hasattr(m, "find")), None)
        child = _step(node, step)
        return _component(finder, child) if finder is not None else _settle(field.annotation, child)
    if isinstance(annotation, list):  # the arms of a union
        return (
            next((arm for arm in annotation if getattr(arm, "__name__", "") == step), None)
            or annotation
        )
    arguments = [a for a in typing.get_args(annotation) if a is not ...]
    return _settle(arguments[-1], _step(node, step)) if arguments else None


def _settle(annotation: Any, node: Node | None) -> Any:
    """The type inside Optional and Annotated; for a component the class that the node names."""
    finder = None
    if typing.get_origin(annotation) is typing.Annotated:
        finder = next((m for m in annotation.__metadata__ if hasattr(m, "find")), None)
        annotation = typing.get_args(annotation)[0]
    if finder is not None:
        return _component(finder, node)
    if typing.get_origin(annotation) is typing.Union or type(annotation).__name__ == "UnionType":
        arms = [_settle(a, node) for a in typing.get_args(annotation) if a is not type(None)]
        return arms[0] if len(arms) == 1 else arms
    return annotation


def _component(finder: Any, node: Node | None) -> Any:
    short = node.value if node is not None else None  # `algorithm: grpo`
    name = short if isinstance(short, str) else node.name() if node is not None else None
    if name is None:
        name = getattr(finder, "default", None)
    if name is None:
        return None
    try:
        return finder.find(name)
    except ConfigError:
        return None


def _words(fault: Any, node: Node) -> str:
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, PlumblineError):
        return cause.line()
    message: str = fault["msg"]
    if fault["type"] == NO_EFFECT:
        return message
    if fault["type"] in ("value_error", "assertion_error"):
        return message.partition(", ")[2] or message
    if fault["type"] == "string_pattern_mismatch":
        return f"got {_shown(node.plain())}; expected text of the pattern {fault['ctx']['pattern']}"
    expected = message.removeprefix("Input should be ")
    for theirs, ours in _PLAIN.items():
        expected = expected.replace(theirs, ours)
    if expected == message:
        return f"got {_shown(node.plain())}; {message[:1].lower()}{message[1:]}"
    return f"got {_shown(node.plain())}; expected {expected}"


def _either(messages: list[str]) -> str:
    """One message for the faults of a union's members: `got 3; expected text or a list`."""
    heads = {message.partition("; expected ")[0] for message in messages}
    if len(messages) == 1 or len(heads) > 1:
        return "; or ".join(dict.fromkeys(messages))
    tails = dict.fromkeys(message.partition("; expected ")[2] for message in messages)
    return f"{heads.pop()}; expected {' or '.join(tails)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _type_name(annotation: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    if typing.get_origin(annotation) in (list, tuple, set, frozenset):
        return "a list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping"
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(str(a) for a in typing.get_args(annotation))
    return "a value"
