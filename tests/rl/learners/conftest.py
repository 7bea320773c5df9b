"""Ranks in processes of their own, started once a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.rl.learners.processes import Ranks


@pytest.fixture(scope="module")
def alone(tiny_qwen3vl: Path) -> Iterator[Ranks]:
    """One rank."""
    from tests.rl.learners.processes import Ranks

    ranks = Ranks(1, tiny_qwen3vl)
    yield ranks
    ranks.stop()


@pytest.fixture(scope="module")
def pair(tiny_qwen3vl: Path) -> Iterator[Ranks]:
    """Two ranks."""
    from tests.rl.learners.processes import Ranks

    ranks = Ranks(2, tiny_qwen3vl)
    yield ranks
    ranks.stop()
