"""Reads recipes: strict YAML whose mistakes are all reported at once, each with its file and line.

Reading takes three steps, and each keeps the place of every key:

    config = load_config(Path("grpo.yaml"), ["stages.grpo.lr=5e-5"])  # YAML + overrides -> nodes
    stage = build(TrainStage, config, "stages.grpo")                  # nodes -> a section
    print(dump(stage))                                                # a section -> YAML

A *section* is a frozen pydantic model whose fields are the keys of the YAML. Types are strict: text
is never read as a number nor a number as text. `1e-3` is a number; `yes`, `no`, `on`, `off` and
`010` are text.

A key may hold a *component*: a plugin with keys of its own, as `algorithm: {name: grpo, group_size:
8}`. Its field is annotated `Annotated[Any, Component("rl.algorithms")]`.

>>> class Optimizer(Section):
...     lr: float
...     steps: int = 10
>>> build(Optimizer, config_of({"lr": 1e-4}))
Optimizer(lr=0.0001, steps=10)
>>> problems = Problems()
>>> build(Optimizer, config_of({"lr": "fast", "step": 5}), problems=problems)
>>> print(*problems.lines, sep="\\n")
command line lr: got "fast"; expected a number
command line step: unknown key. Did you mean steps? (lr, steps)
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
from rl.config_errors import NO_EFFECT, Problems, place_of, report
from rl.config_yaml import Dumper, Node, parse_yaml
from rl.errors import ConfigError

__all__ = [
    "NO_EFFECT",
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
    """A part of a recipe: frozen, no unknown key, no nan or inf.

    A section whose keys depend on one another refuses a key that has no effect (a validator raises
    `PydanticCustomError(NO_EFFECT, ...)`) and names it in `idle_keys`:

        class Optimizer(Section):
            schedule: str = "cosine"
            min_lr_ratio: float = 0.0  # has no effect beside `schedule: constant`

            def idle_keys(self) -> frozenset[str]:
                return frozenset({"min_lr_ratio"} if self.schedule == "constant" else ())
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def idle_keys(self) -> frozenset[str]:
        """The fields that have no effect beside the others: `dump` leaves them out."""
        return frozenset()

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The keys of the section as a recipe writes them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def advise_on(cls, key: str) -> str:
        """What to write instead of another tool's key; asked of the outermost section alone."""
        return ""

    @classmethod
    def explain_unknown(cls, key: str) -> str:
        """Why this section has no such key, where there is more to say than that it is unknown."""
        return ""


@dataclass(frozen=True)
class ConfigFile:
    """A recipe as nodes, with the overrides of the command line applied.

    config = load_config(Path("grpo.yaml"), ["run.seed=1"])
    config.has("stages.grpo.lr")    # whether the recipe sets the key
    config.where("stages.grpo.lr")  # "grpo.yaml:14 stages.grpo.lr", for an error
    config.plain()                  # all of it as dicts, lists and scalars
    """

    path: Path
    root: Node

    def section(self, key: str) -> Node:
        """The node at a dotted key; items of a list are found by their `name` or index.

        A key that the recipe does not set is an empty mapping, so that all defaults apply.
        """
        node = self.root
        for step in key.split(".") if key else ():
            child = node.child(step)
            if child is None:
                return Node({}, node.where, key)
            node = child
        return node

    def has(self, key: str) -> bool:
        """Whether the recipe sets the dotted key."""
        node: Node | None = self.root
        for step in key.split("."):
            node = node.child(step) if node is not None else None
        return node is not None

    def where(self, key: str) -> str:
        """`file:line key`: the place of a dotted key, as errors name it."""
        node = self.section(key)
        return place_of(node.where, node.key)

    def plain(self) -> Any:
        """The whole recipe as dicts, lists and scalars."""
        return self.root.plain()


class Component:
    """Marks a field that holds a plugin of `package`.

        class Stage(Section):
            algorithm: Annotated[Any, Component("rl.algorithms")]

    In the YAML it is a mapping: `name` finds the plugin's class, and the other keys are the fields
    of that class. `algorithm: grpo` is short for `{name: grpo}`. In Python an object that is
    already built is taken as it is. `default` is the plugin of a mapping without `name`.
    """

    def __init__(
        self, package: str, *, base: Path | None = None, default: str | None = None
    ) -> None:
        self.package, self.base, self.default = package, base, default

    def find(self, name: str) -> Any:
        """The plugin's class. Raises: ConfigError for an unknown name."""
        return plugins.find(self.package, name, base=self.base)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, Mapping) and "name" not in value and self.default is not None:
            value = {"name": self.default, **value}
        return (
            _construct(self.find, value)
            if isinstance(value, Mapping)
            else _built(value, self.package)
        )


def load_config(
    path: Path, overrides: Sequence[str] = (), *, problems: Problems | None = None
) -> ConfigFile:
    """Reads a recipe and applies the overrides, each a `key.key=value`.

    Raises: ConfigError with file:line for a missing file, broken YAML, a duplicate key or a file
    that is no mapping; with the text of the override for an override that fits nowhere. With
    `problems` the faults of overrides are gathered there and not raised.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "is not UTF-8 text",
            where=str(path),
            do="save the file as UTF-8, or check the path",
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
            "the recipe is no mapping",
            where=f"{path}:1",
            expected="`key: value` lines",
            do="check the path",
        )
    return ConfigFile(path, _apply_all(root, overrides, problems))


def config_of(
    values: Mapping[str, Any], overrides: Sequence[str] = (), *, origin: str = "command line"
) -> ConfigFile:
    """A recipe from values that a program or the command line gives. Raises: ConfigError for an
    override that fits nowhere.

    >>> config_of({"run": {"seed": 0}}, ["run.seed=1"]).plain()
    {'run': {'seed': 1}}
    """
    text = yaml.dump(plain(values), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return ConfigFile(
        Path(), _apply_all(parse_yaml(text, origin, with_lines=False), overrides, None)
    )


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
    """The section that a recipe describes, or the part of it at the dotted key `where`.

    Raises: ConfigError that lists every fault, each on a line. With `problems` the faults are
    gathered there, and None is returned.
    """
    config = source if isinstance(source, ConfigFile) else ConfigFile(Path(), source)
    node = config.section(where)
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
    """The plugin that a mapping with `name` describes; `find` gives the pydantic class of that
    name.

    Raises: ConfigError as `build` does; with `problems` it gathers the faults and returns None.
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
    """The model of plain YAML values.

    Validates strictly, but as JSON: strict validation of Python values would refuse a list for a
    tuple, which YAML cannot write in another way.
    """
    return cls.model_validate_json(json.dumps(value), strict=True)


def dump(model: BaseModel | Mapping[str, Any] | Sequence[Any]) -> str:
    """The model as YAML text, with every default written out except null. `build` reads it back to
    an equal model.
    """
    return yaml.dump(plain(model), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any) -> Any:
    """A model as dicts, lists and scalars. The `name` of a plugin becomes its first key."""
    if isinstance(value, BaseModel):
        idle = value.idle_keys() if isinstance(value, Section) else ()
        fields = {
            field.alias or key: plain(getattr(value, key))
            for key, field in type(value).model_fields.items()
            if key not in idle and (getattr(value, key) is not None or field.default is not None)
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
    """The plugin of a mapping with `name`. Raises: ConfigError; pydantic's ValidationError."""
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
    """A plugin that was built in Python. Raises: ConfigError for a value that cannot be one."""
    if value is None or isinstance(value, (bool, int, float, list)):
        raise ConfigError(
            f"got {json.dumps(value)[:60]}",
            expected=f"{plugins.kind_of(package)} as `name: ...`",
            do="write it as {name: ...}",
        )
    return value


def _apply_all(root: Node, overrides: Sequence[str], problems: Problems | None) -> Node:
    gathered = problems if problems is not None else Problems()
    for override in overrides:
        try:
            root = _apply(root, override)
        except ConfigError as error:
            gathered.add_error(error)
    if problems is None:
        gathered.raise_if_any()
    return root


def _apply(root: Node, override: str) -> Node:
    """The recipe with one override applied. Raises: ConfigError that names the override."""
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
    """`node` with `new` at the key that `steps` lead to. Raises: ConfigError where they lead
    nowhere.
    """
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
    if isinstance(node.value, str):  # `algorithm: grpo` is short for {name: grpo}
        name = replace(node, key=f"{node.key}.name")
        return _replace(replace(node, value={"name": name}), steps, new, where)
    raise ConfigError(
        f"{node.key} is {json.dumps(node.value)}, which has no key {step}",
        where=where,
        do="name a key that holds others",
    )
