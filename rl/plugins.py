"""The folder is the registry: finds algorithms, rewards, benchmarks and families by name, and a
user's own by `./file.py:attr`.

The rule. A plugin is a public top-level object of a module in the package that bears a literal
name, in one of three forms:

    class GRPO:  name: ClassVar[str] = "grpo"        # or  name = "grpo",  or  id = "mme"
    @reward(name="exact")  def exact(...): ...       # any decorator called with name="..."
    DAPO = preset(GRPO, name="dapo")                 # a top-level call with name="..." (or
    id="...")

Modules called `base` or beginning with `_` are never looked at, and a module that bears no such
name is simply no plugin. Names are read from the source (`ast`): listing imports nothing, and
finding imports only the module that bears the name.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from rl.errors import ConfigError

OWN = "plumbline_own_"  # modules of users' files are called so
_SINGULAR = {"families": "family"}
_NAME_KEYS = ("name", "id")
_CONSTANT = ("ClassVar", "typing.ClassVar", "Final", "typing.Final")
_ORIGINS: dict[
    int, tuple[Any, str]
] = {}  # id(object) -> (object, "./file.py:attr"); the object is kept so the id stays its own


def find(package: str, name: str, *, base: Path | None = None) -> Any:
    """The plugin called `name` in `package`; `./my_file.py:attr` (relative to `base`) is a user's
    own.

    Raises: ConfigError for an unknown name (nearest name, all names) or a file that cannot be
    loaded.
    """
    if is_own(name):
        return load_attr(name, base)
    places = _places(package)
    if name not in places:
        raise unknown_name(kind_of(package), name, places)
    module, attribute = places[name]
    return getattr(importlib.import_module(module), attribute)


def names(package: str) -> tuple[str, ...]:
    """The names in `package`, sorted. Imports no plugin."""
    return tuple(sorted(_places(package)))


def is_own(name: str) -> bool:
    """Whether the name is a user's own `file.py:attr` and not a plugin of ours."""
    path, _, attribute = name.rpartition(":")
    return path.endswith(".py") and bool(attribute)


def load_attr(spec: str, base: Path | None = None) -> Any:
    """What `./my_file.py:attr` names; a relative file is looked for below `base` (default: the
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
            do="give an absolute path, or one from the folder that the command runs in (in a "
            "benchmark's page: from the page's folder)",
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
    """The name under which `find` gives this plugin back; None where it bears none."""
    if id(plugin) in _ORIGINS:
        return _ORIGINS[id(plugin)][1]
    given = (getattr(plugin, key, None) for key in _NAME_KEYS)
    return next((value for value in given if isinstance(value, str)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`. Did you mean X?` for the nearest known word, or nothing.

    >>> did_you_mean("clip_hgih", ["clip_low", "clip_high"])
    '. Did you mean clip_high?'
    """
    by_lower = {item.lower(): item for item in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f". Did you mean {by_lower[near[0]]}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not there: nearest name and all that are."""
    known = sorted(known)
    return ConfigError(
        f'unknown {kind} "{name}"{did_you_mean(name, known)} ({", ".join(known) or "none here"})',
        do="name one of these, or your own as docs/extending.md says",
    )


def kind_of(package: str) -> str:
    """What a package's plugins are called: `rl.algorithms` -> `algorithm`."""
    last = package.rpartition(".")[2]
    return _SINGULAR.get(last, last.removesuffix("s"))


def _places(package: str) -> dict[str, tuple[str, str]]:
    """Plugin name -> (module, attribute). Raises: ConfigError where two modules bear one name."""
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
    """(plugin name, attribute) of each plugin that the module's source bears."""
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
    """The literal `name` (or `id`) of the class itself. A pydantic field `name: str = "x"` is a
    field and no plugin's name.
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
    if not isinstance(node, ast.Call):
        return None
    return next((_literal(word.value) for word in node.keywords if word.arg in _NAME_KEYS), None)


def _literal(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _load_file(path: Path) -> Any:
    """Imports a user's file once a process. Raises: ConfigError with the line that failed."""
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
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything: named with its line, and chained
        del sys.modules[name]
        raise ConfigError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=_where(path, error),
            do="mend the file",
        ) from error
    return module


def _where(path: Path, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return f"{path}:{line}" if line else str(path)
