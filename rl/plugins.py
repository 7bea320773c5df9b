"""Finds algorithms, rewards, benchmarks and model families by name: the folder is the registry.

There is no table to edit. A file of the folder makes its object a plugin by giving it a literal
name, in one of three forms:

    class GRPO:                            # a class attribute: `name`, or `id` as benchmarks have
        name: ClassVar[str] = "grpo"

    @reward(name="exact")                  # a decorator that is called with name="..."
    def exact(...): ...

    DAPO = preset(GRPO, name="dapo")       # a call at the top level with name="..." or id="..."

Only public objects count. Modules called `base` or beginning with `_` are skipped. Names are read
from the source by `ast`: listing them imports nothing, and finding one imports only its module. A
user's own plugin is named by its file, `./my_file.py:attribute`.

>>> names("rewards")[:3]
('anls', 'choice', 'contains')
>>> find("rewards", "exact")("7", "7")
1.0
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from rl.errors import ConfigError, errors_as

OWN = "plumbline_own_"  # how the modules of users' files are named in sys.modules
_SINGULAR = {"families": "family"}
_NAME_KEYS = ("name", "id")
_CONSTANT = ("ClassVar", "typing.ClassVar", "Final", "typing.Final")
# id(object) -> (object, "./file.py:attr"). The object is kept, so that no other gets its id.
_ORIGINS: dict[int, tuple[Any, str]] = {}


def find(package: str, name: str, *, base: Path | None = None) -> Any:
    """The plugin called `name` in `package`; `./my_file.py:attribute`, relative to `base`, is a
    user's own.

    Raises: ConfigError for an unknown name, with the nearest name and all names, or for a file that
    cannot be loaded.
    """
    if is_own(name):
        return load_attr(name, base)
    places = _places(package)
    if name not in places:
        raise unknown_name(kind_of(package), name, places)
    module, attribute = places[name]
    return getattr(importlib.import_module(module), attribute)


def names(package: str) -> tuple[str, ...]:
    """The names of all plugins in `package`, sorted. Imports none of them."""
    return tuple(sorted(_places(package)))


def sentences(package: str) -> dict[str, str]:
    """Plugin name -> its sentence, sorted by name. Imports no plugin.

    The sentence is the first of a function's docstring. A class or a value gets its file's, since a
    file says there what its plugin is; where a file has several classes, each says it itself.

    >>> sentences("rewards")["exact"]
    '1.0 where the answer equals a reference, both without white space at their ends; else 0.0.'
    """
    places = _places(package)
    attributes = [attribute for _, attribute in places.values()]
    modules = [module for module, _ in places.values()]
    found = {}
    for name in sorted(places):
        module, attribute = places[name]
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        own = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in attributes
        }.get(attribute)
        is_alone = modules.count(module) == 1 and not isinstance(own, ast.FunctionDef)
        text = "" if own is None or is_alone else ast.get_docstring(own) or ""
        found[name] = _first_sentence(text or ast.get_docstring(tree) or "")
    return found


def _first_sentence(text: str) -> str:
    """The text up to the first period that ends a word, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`]\.) (?=[A-Z`])", paragraph, maxsplit=1)[0]


def is_own(name: str) -> bool:
    """Whether the name is that of a user's own plugin, `file.py:attribute`."""
    path, _, attribute = name.rpartition(":")
    return path.endswith(".py") and bool(attribute)


def load_attr(spec: str, base: Path | None = None) -> Any:
    """The object that `./my_file.py:attribute` names. A relative path is below `base` (default: the
    current folder).

    Raises: ConfigError where the file is missing, fails to import or has no such attribute.
    """
    file, _, attribute = spec.rpartition(":")
    if not file.endswith(".py") or not attribute:
        raise ConfigError(
            f'"{spec}" names no object',
            expected='"./my_file.py:name"',
            do="name file and object, as ./my_file.py:name",
        )
    path = Path(file).expanduser()
    path = (path if path.is_absolute() else (base or Path()) / path).resolve()
    if not path.is_file():
        raise ConfigError(
            f'"{spec}": no file {path}',
            do="give an absolute path, or one relative to the folder that the command runs in "
            "(in a benchmark's YAML file: relative to that file)",
        )
    module = _load_file(path)
    if not hasattr(module, attribute):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ConfigError(
            f'{path.name} has no "{attribute}"{did_you_mean(attribute, public)}',
            where=str(path),
            do="name what the file has",
        )
    found = getattr(module, attribute)
    _ORIGINS[id(found)] = (found, f"{path}:{attribute}")
    return found


def name_of(plugin: Any) -> str | None:
    """The name by which `find` finds this plugin; None where it has none."""
    if id(plugin) in _ORIGINS:
        return _ORIGINS[id(plugin)][1]
    stated = (getattr(plugin, key, None) for key in _NAME_KEYS)
    return next((value for value in stated if isinstance(value, str)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`. Did you mean X?` with the nearest known word, or "" where none is near.

    >>> did_you_mean("clip_hgih", ["clip_low", "clip_high"])
    '. Did you mean clip_high?'
    """
    by_lower = {item.lower(): item for item in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f". Did you mean {by_lower[near[0]]}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist; it says the nearest name and all names."""
    known = sorted(known)
    return ConfigError(
        f'unknown {kind} "{name}"{did_you_mean(name, known)} ({", ".join(known) or "none here"})',
        do="name one of these, or your own as docs/extending.md says",
    )


def kind_of(package: str) -> str:
    """What a plugin of the package is called in messages.

    >>> kind_of("rl.algorithms"), kind_of("rl.models.families")
    ('algorithm', 'family')
    """
    last = package.rpartition(".")[2]
    return _SINGULAR.get(last, last.removesuffix("s"))


def _places(package: str) -> dict[str, tuple[str, str]]:
    """Plugin name -> (module, attribute). Raises: ConfigError where two plugins have one name."""
    places: dict[str, tuple[str, str]] = {}
    for file in _module_files(package):
        for name, attribute in _declared(file, file.stat().st_mtime_ns):
            module = f"{package}.{file.stem}"
            if name in places:
                both = f"{'.'.join(places[name])} and {module}.{attribute}"
                raise ConfigError(
                    f'two plugins of {package} are called "{name}": {both}',
                    do="rename one of the two",
                )
            places[name] = (module, attribute)
    return places


def _module_files(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ConfigError(f"{package} is not a package")
    for folder in spec.submodule_search_locations:
        for file in sorted(Path(folder).glob("*.py")):
            if not file.stem.startswith("_") and file.stem != "base":
                yield file


@lru_cache(maxsize=512)
def _declared(file: Path, _changed_ns: int) -> tuple[tuple[str, str], ...]:
    """(plugin name, attribute) of each plugin in the file. `_changed_ns` makes the cache read a
    file again when it has changed.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            attribute, name = node.name, _class_name(node)
        elif isinstance(node, ast.FunctionDef):
            attribute = node.name
            name = next(
                filter(None, (_call_name(decorator) for decorator in node.decorator_list)), None
            )
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            attribute, name = node.targets[0].id, _call_name(node.value)
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            attribute, name = node.target.id, _call_name(node.value)
        else:
            continue
        if name and not attribute.startswith("_"):
            found.append((name, attribute))
    return tuple(found)


def _class_name(node: ast.ClassDef) -> str | None:
    """The literal `name` (or `id`) of the class. A pydantic field `name: str = "x"` is not meant:
    only a plain assignment, ClassVar or Final is.
    """
    for item in node.body:
        if isinstance(item, ast.Assign):
            targets: list[ast.expr] = item.targets
        elif isinstance(item, ast.AnnAssign) and ast.unparse(item.annotation).startswith(_CONSTANT):
            targets = [item.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id in _NAME_KEYS for target in targets):
            return _literal(item.value)
    return None


def _call_name(node: ast.expr) -> str | None:
    """The literal that a call passes as `name` or `id`."""
    if not isinstance(node, ast.Call):
        return None
    return next((_literal(word.value) for word in node.keywords if word.arg in _NAME_KEYS), None)


def _literal(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _load_file(path: Path) -> Any:
    """Imports a user's file, once in a process. Raises: ConfigError with the line that failed."""
    name = f"{OWN}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(
            f"{path} cannot be imported",
            do="check that it is a Python file",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with errors_as(
        ConfigError,
        "cannot be imported: {error}",
        where=lambda error: _where(path, error),
        do="fix the file",
        wraps_ours=True,
    ):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]  # half of a module would pass for all of it the next time
            raise
    return module


def _where(path: Path, error: Exception) -> str:
    """`file:line` of the last line of the user's own file in the traceback."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return f"{path}:{line}" if line else str(path)
