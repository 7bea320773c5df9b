"""The layers of the code: which package may import which, read from the source with ast."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from rl.plugins import names

ROOT = Path(__file__).resolve().parent.parent

ALGORITHMS = names("rl.algorithms")

FLOORS = {
    "rl": set(),
    "rewards": {"rl"},
    "rollouts": {"rl"},
    "evals": {"rewards", "rl"},
    "recipes": {"rl", "rewards", "rollouts", "evals"},
}

# library -> the only files that import it
DOORS = {
    "vllm": {f"rollouts/engines/vllm/{name}.py" for name in ("engine", "cores", "transfer")},
    "deepspeed": {"rl/learners/zero.py"},
    "ray": {"rl/runtime/cluster.py"},
}
SERVERS = ("aiohttp", "fastapi", "flask", "gradio", "http.server", "starlette", "uvicorn")
SERVER_FILES = {
    "rl/runtime/sign_in.py",
    "evals/report/serve.py",
}  # an HTTP or UI server only in a file of its own, named here

# package -> the most modules in one chain of imports; "" is the whole tree
DEPTHS = {"evals.report": 6, "": 16}

# Folders where every file adds one thing of the same kind: they may hold any number of files.
REGISTRIES = {
    *("rl/algorithms", "rl/models/families", "rl/data/row_formats", "rollouts/engines", "rewards"),
    *("evals/benchmarks", "evals/report/sections", "recipes/cli/groups"),
}
MOST_FILES = 14  # of a folder, apart from its __init__.py

TOP_LEVEL = {
    *("rl", "rewards", "evals", "rollouts", "recipes", "tests", "docs", "requirements", ".ci"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"),
    *(".gitignore", ".pre-commit-config.yaml"),
}

# modules that many import and that stay free of torch, so that configs and reports are quick
LIGHT = ("rl.core", "rl.errors", "rl.config", "rl.plugins", "rewards", "evals", "recipes")


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether it runs when the file is imported."""

    module: str
    place: str
    at_import: bool


@cache
def sources() -> dict[str, Path]:
    """Module name -> file, of all our packages."""
    files = (file for package in FLOORS for file in (ROOT / package).rglob("*.py"))
    return {module_name(file): file for file in files}


def module_name(file: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path) -> Iterator[Import]:
    """Every import in a file: absolute names, `from a import b` as `a.b`."""
    tree = ast.parse(file.read_text(), str(file))
    deferred = {id(node) for block in late_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        place = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, place, id(node) not in deferred)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place}: imports are absolute here"
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", place, id(node) not in deferred)


def late_blocks(tree: ast.Module) -> Iterator[ast.AST]:
    """Code that does not run when the file is imported: function bodies, `if TYPE_CHECKING`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from node.body


@cache
def all_imports() -> dict[str, tuple[Import, ...]]:
    """Module name -> what it imports."""
    return {name: tuple(imports_of(file)) for name, file in sources().items()}


def our_module(dotted: str) -> str | None:
    """The module of ours that an imported name belongs to."""
    while dotted:
        if dotted in sources():
            return dotted
        dotted = dotted.rpartition(".")[0]
    return None


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_imports_only_the_floors_below(package: str) -> None:
    allowed = FLOORS[package] | {package}
    ours = set(FLOORS) | {"tests", "requirements"}
    wrong = [
        f"{found.place} imports {found.module}"
        for name, found_all in all_imports().items()
        if name.partition(".")[0] == package
        for found in found_all
        if (top := found.module.partition(".")[0]) in ours and top not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_one_door(library: str) -> None:
    wrong = [
        f"{found.place} imports {found.module}"
        for found_all in all_imports().values()
        for found in found_all
        if found.module.partition(".")[0] == library
        and found.place.partition(":")[0] not in DOORS[library]
    ]
    assert not wrong


def test_a_server_stands_in_a_file_of_its_own() -> None:
    wrong = [
        f"{found.place} imports {found.module}"
        for found_all in all_imports().values()
        for found in found_all
        if any(f"{found.module}.".startswith(f"{server}.") for server in SERVERS)
        and found.place.partition(":")[0] not in SERVER_FILES
    ]
    assert not wrong


@cache
def needed_at_import() -> dict[str, frozenset[str]]:
    """Module name -> the modules of ours that it imports when it is imported itself."""
    return {
        name: frozenset(
            needed
            for found in found_all
            if found.at_import and (needed := our_module(found.module)) and needed != name
        )
        for name, found_all in all_imports().items()
    }


def longest_chain(package: str = "") -> list[str]:
    """The longest chain of imports at import time among the modules of a package (all of ours by
    default): each module imports the next.
    """
    ours = {name for name in sources() if not package or f"{name}.".startswith(f"{package}.")}

    @cache
    def below(name: str) -> tuple[str, ...]:
        chains = (below(needed) for needed in needed_at_import()[name] if needed in ours)
        return (name, *max(chains, key=len, default=()))

    return list(max(map(below, ours), key=len))


def test_no_module_needs_itself() -> None:
    try:
        TopologicalSorter(needed_at_import()).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize(("package", "most"), DEPTHS.items())
def test_imports_are_not_stacked_too_deep(package: str, most: int) -> None:
    chain = longest_chain(package)
    assert len(chain) <= most, f"{len(chain)} modules deep: {' -> '.join(chain)}"


def test_a_section_of_the_report_imports_no_other_section() -> None:
    folder = "evals.report.sections"
    wrong = [
        f"{found.place} imports {found.module}"
        for name, found_all in all_imports().items()
        if name.startswith(f"{folder}.")
        for found in found_all
        if f"{found.module}.".startswith(f"{folder}.")
    ]
    assert not wrong


# Only these name a concrete algorithm: its own file, the face, and the scripts that show it.
NAMES_ALGORITHMS = {"rl/__init__.py", *(f"recipes/{name}.py" for name in (*ALGORITHMS, "align"))}


def algorithm_literals(tree: ast.Module, algorithms: Collection[str]) -> Iterator[tuple[int, str]]:
    """(line, text) of each string that is an algorithm's name or begins as its metric keys do.
    Docstrings may name one as an example."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            first = node.value.partition("/")[0].lower()
            if first in algorithms and id(node) not in docstrings:
                yield node.lineno, node.value


def test_no_algorithm_is_named_outside_its_folder() -> None:
    """A new algorithm is one file: nothing else knows that there is one of that name."""
    wrong = []
    for name, file in sources().items():
        place = str(file.relative_to(ROOT))
        if place.startswith("rl/algorithms/") or place in NAMES_ALGORITHMS:
            continue
        wrong += [
            f"{found.place} imports {found.module}"
            for found in all_imports()[name]
            if found.module.startswith(tuple(f"rl.algorithms.{a}" for a in ALGORITHMS))
            or found.module in {f"rl.{a.upper()}" for a in ALGORITHMS}
        ]
        tree = ast.parse(file.read_text())
        wrong += [
            f"{place}:{line}: {text!r}" for line, text in algorithm_literals(tree, ALGORITHMS)
        ]
    assert not wrong


def test_a_named_algorithm_is_found() -> None:
    tree = ast.parse('"""SFT first."""\nlr = {"sft": 1}\nkey = "kto/z"\nfile = "sft.jsonl"\n')
    assert sorted(algorithm_literals(tree, ALGORITHMS)) == [(2, "sft"), (3, "kto/z")]


def test_training_loads_the_report_late() -> None:
    """Of the report, others import its face, records and ways of writing; the rest loads late."""
    light = ("evals.report", "evals.report.records", "evals.report.run")
    wrong = [
        f"{name} imports {needed}"
        for name, all_needed in needed_at_import().items()
        if not f"{name}.".startswith("evals.report.")
        for needed in all_needed
        if f"{needed}.".startswith("evals.report.")
        and needed not in light
        and not needed.startswith("evals.report.display.")
    ]
    assert not wrong
    assert len(longest_chain("evals.report.display")) <= 2
    assert not [need for need in needed_at_import()["evals.report"] if need in sources()]


def test_the_packages_import_without_any_heavy_library() -> None:
    code = """
import sys
blocked = {"vllm", "deepspeed", "ray", "torch", "transformers", "trl"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is imported")
sys.meta_path.insert(0, Blocker())
import rl, rewards, rollouts, evals, recipes
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
    child = run_python(code, *LIGHT)
    assert child.returncode == 0, child.stderr


def test_every_name_of_the_face_is_there() -> None:
    face = ast.parse((ROOT / "rl" / "__init__.py").read_text())
    typed = {
        alias.name
        for block in late_blocks(face)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    child = run_python(
        "import rl\n"
        "assert sorted(rl._HOME) == sorted(rl.__all__), 'homes and __all__ differ'\n"
        "for name in rl.__all__: getattr(rl, name)\n"
        "print(*rl.__all__)"
    )
    assert child.returncode == 0, child.stderr
    assert set(child.stdout.split()) == typed


def test_only_the_agreed_names_stand_at_the_top() -> None:
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    assert {line.partition("/")[0] for line in listing.stdout.splitlines()} <= TOP_LEVEL


def test_no_folder_has_too_many_files() -> None:
    files = [file for file in sources().values() if file.name != "__init__.py"]
    held = Counter(str(file.parent.relative_to(ROOT)) for file in files)
    full = {f: n for f, n in held.items() if n > MOST_FILES and f not in REGISTRIES}
    assert not full, f"group the files by purpose: {full}"


def test_every_package_is_listed_for_the_wheel() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    folders = {
        name if file.name == "__init__.py" else name.rpartition(".")[0]
        for name, file in sources().items()
    }
    assert listed == folders


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, in the project's root."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
