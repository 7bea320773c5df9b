"""Shared fixtures, made once a session: tiny checkpoints of every family and a few scenes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--repeats", type=int, default=1, help="how often a chaos test strikes")
    parser.addoption("--chaos-seed", type=int, default=0, help="draws the moments at which it does")


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> int:
    """How often a chaos test strikes in one run."""
    return int(request.config.getoption("--repeats"))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Draws the moments of a chaos test; `--chaos-seed` says which."""
    return random.Random(int(request.config.getoption("--chaos-seed")))


@pytest.fixture(scope="session")
def tiny_qwen3vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("qwen3_vl", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_qwen25vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("qwen2_5_vl", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_qwen2vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("qwen2_vl", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("llava", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("qwen3", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("qwen2", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_tiny("llama", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_added(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the checkpoint of a family that was added to the folder, once."""
    return cache(lambda family: _make_tiny(family, tmp_path_factory))


@pytest.fixture(scope="session")
def scene_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sft.jsonl, rl.jsonl, images/, mme/ and textvqa/ of a few scenes."""
    from recipes.synthetic.scenes import write_scenes

    out = tmp_path_factory.mktemp("scenes")
    write_scenes(out, seed=0, sft=96, rl=64, select=24, report=48)
    return out


def _make_tiny(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recipes.synthetic.tiny import make_tiny

    return make_tiny(family, tmp_path_factory.mktemp(family) / "model")
