"""Every command and snippet of README.md and docs/ runs, and what the pages name is there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from recipes.schema.recipe import recipe_of
from rl.data.rows import Reading, to_record
from rl.data.sources import Row
from rl.plugins import names as algorithms
from tests.docs.fences import LANGUAGES, MARKS, PAGES, ROOT, Fence, fences, unseen

ALL = [fence for page in PAGES for fence in fences(page)]
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
# Targets that make the environment or are the tests themselves: that they exist is checked.
NOT_RUN = (
    *("setup", "test", "test-all", "docs-test", "chaos"),
    *("lint", "format", "lock", "doctor", "clean"),
)
LINK = re.compile(r"(?<!\!)\[(?P<text>[^\]]+)\]\((?P<to>[^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\((?P<to>[^)\s]+)\)")
INLINE = re.compile(r"`((?:plumbline|make) [^`]+)`")


def is_run(fence: Fence) -> bool:
    return fence.language in ("bash", "python") and not fence.is_marked("gpu", "unverified")


def with_quick() -> list[Path]:
    return [p for p in PAGES if any(is_run(f) and not f.is_marked("slow") for f in fences(p))]


def with_slow() -> list[Path]:
    return [p for p in PAGES if any(is_run(f) and f.is_marked("slow") for f in fences(p))]


def run(fence: Fence, place: Path, environment: dict[str, str]) -> None:
    """Runs a block in the reader's folder, or writes it there."""
    if fence.file is not None:
        (place / fence.file).parent.mkdir(parents=True, exist_ok=True)
        (place / fence.file).write_text(fence.text)
        return
    if not is_run(fence):
        return
    if fence.language == "python":
        snippet = place / "snippet.py"
        snippet.write_text(fence.text)
        doctest = ["-m", "doctest"] if fence.text.lstrip().startswith(">>>") else []
        command = [sys.executable, *doctest, str(snippet)]
    else:
        command = ["bash", "-euo", "pipefail", "-c", without_targets(fence.text)]
    with (place / "output.txt").open("w+") as output:
        child = subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait()
        finally:  # a test that ends at its time limit leaves no engine behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        output.seek(0)
        shown = output.read()[-4000:]
    assert code == 0, f"{fence.where}\n{fence.text}\n{shown}"


def without_targets(commands: str) -> str:
    lines = commands.splitlines()
    kept = [line for line in lines if not re.match(rf"make ({'|'.join(NOT_RUN)})\b", line)]
    return "\n".join(kept) or "true"


def run_all(page: Path, place: Path, environment: dict[str, str], *, slow: bool) -> None:
    for fence in fences(page):
        if slow or not fence.is_marked("slow"):
            run(fence, place, environment)


@pytest.mark.parametrize("page", with_quick(), ids=NAMES.get)
@pytest.mark.timeout(600)
def test_quick_blocks_run(page: Path, checkout: Path, environment: dict[str, str]) -> None:
    run_all(page, checkout, environment, slow=False)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("page", with_slow(), ids=NAMES.get)
@pytest.mark.timeout(3600)
def test_all_blocks_run(page: Path, checkout: Path, environment: dict[str, str]) -> None:
    run_all(page, checkout, environment, slow=True)


@pytest.mark.parametrize("fence", ALL, ids=lambda fence: fence.where)
def test_a_block_says_what_it_is(fence: Fence) -> None:
    assert fence.language in LANGUAGES
    assert all(mark in MARKS or mark.startswith(("file=", "row=")) for mark in fence.marks)


@pytest.mark.parametrize(
    "fence", [f for f in ALL if f.language == "yaml"], ids=lambda fence: fence.where
)
def test_yaml_is_part_of_a_recipe(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, with a model where it names none; the page's own files lie beside it."""
    if fence.is_marked("unverified"):
        return
    monkeypatch.chdir(tmp_path)
    for other in fences(fence.page):
        if other.file is not None:
            Path(other.file).write_text(other.text)
    recipe_of({"model": {"path": "model"}, **yaml.safe_load(fence.text)})


@pytest.mark.parametrize(
    "fence",
    [(fence, mark) for fence in ALL for mark in fence.marks if mark.startswith("row=")],
    ids=lambda pair: pair[0].where,
)
def test_rows_are_read_as_they_say(fence: tuple[Fence, str]) -> None:
    block, mark = fence
    readings: Sequence[Reading] = mark.removeprefix("row=").split(",")  # type: ignore[assignment]
    for number, line in enumerate(block.text.splitlines()):
        for reading in readings:
            to_record(Row("rows.jsonl", number + 1, number, json.loads(line)), reading)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_no_command_is_unseen(page: Path) -> None:
    """A block of commands is run, or a fence that says why not."""
    assert not unseen(page.read_text(encoding="utf-8"))


def test_an_unseen_command_is_found() -> None:
    mixed = "So:\n\n    ray start --head   # here\n    plumbline run page.yaml\n\n"
    text = f"{mixed}or\n\n    make test\n\n"
    assert unseen(text) == ["ray start --head   # here", "plumbline run page.yaml"]
    assert unseen("    plumbline run page.yaml\n") == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings are there. (Lines: see test_tables.)"""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for found in [*LINK.finditer(text), *PICTURE.finditer(text)]:
        to = found["to"]
        if to.startswith(("https://", "http://")):
            continue
        name, _, anchor = to.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            wrong.append(f"{to}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in headings(file):
            wrong.append(f"{to}: no such heading")
    assert not wrong


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)
    return set(plain)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_commands_in_the_text_exist(page: Path) -> None:
    """`plumbline eval MODEL`, `make docs-test`: command, target and options are there."""
    commands, targets = plumbline_commands(), make_targets()
    wrong = []
    for command in INLINE.findall(page.read_text(encoding="utf-8")):
        program, name, *rest = command.split()
        if program == "make":
            known = name in targets
        else:
            known = name in commands or name.startswith("--")
            options = {word.partition("=")[0] for word in rest if word.startswith("--")}
            known = known and options <= commands.get(name, set()) | {"--debug", "--help"}
        if not known:
            wrong.append(command)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_a_sentence_trains_only_as_a_block_does(page: Path) -> None:
    """`plumbline dpo --model MODEL ...` in a sentence has placeholders; a block with its options is
    run."""
    blocks = "\n".join(fence.text for fence in ALL if fence.language == "bash" and is_run(fence))
    run_as = [options_of(line) for line in blocks.replace("\\\n", " ").splitlines()]
    for command in INLINE.findall(page.read_text(encoding="utf-8")):
        program, name, *_ = command.split()
        if program == "plumbline" and name in (*algorithms("rl.algorithms"), "sample"):
            same = [options for of, options in run_as if of == name]
            assert any(options_of(command)[1] <= options for options in same), command


def options_of(command: str) -> tuple[str, set[str]]:
    """The plumbline command that a line runs, and its options."""
    _, _, rest = command.partition("plumbline ")
    words = rest.split() or [""]
    return words[0], {word.partition("=")[0] for word in words[1:] if word.startswith("--")}


def plumbline_commands() -> dict[str, set[str]]:
    """Each command's options."""
    import typer.main

    from recipes.cli.main import app

    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
