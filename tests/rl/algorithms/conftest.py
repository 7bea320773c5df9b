"""TRL as the oracle, on each tiny checkpoint and layout."""

from __future__ import annotations

import pytest

from tests.rl.algorithms.oracle import Oracle, load_oracle


@pytest.fixture(
    scope="module",
    params=[("tiny_qwen3vl", "plain"), ("tiny_qwen3vl", "tree"), ("tiny_llava", "tree")],
    ids=lambda parameter: "-".join(parameter),
)
def oracle(request: pytest.FixtureRequest) -> Oracle:
    checkpoint, layout = request.param
    return load_oracle(request.getfixturevalue(checkpoint), layout)
