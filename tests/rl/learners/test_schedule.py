"""The rate of every update."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.errors import ConfigError
from rl.learners.base import OptimPlan
from rl.learners.schedule import rate


@given(
    total=st.integers(1, 50),
    warmup=st.integers(0, 60),
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
    floor=st.floats(0, 1),
)
def test_rates_rise_then_fall_within_bounds(
    total: int, warmup: int, schedule: str, floor: float
) -> None:
    plan = OptimPlan(
        lr=2.0, total_steps=total, warmup_steps=warmup, schedule=schedule, min_lr_ratio=floor
    )
    rates = [rate(plan, update) for update in range(1, total + 1)]
    assert all(0 <= r <= 2.0 for r in rates)
    rising, falling = rates[:warmup], rates[warmup:]
    assert rising == sorted(rising)
    assert all(a >= b - 1e-12 for a, b in pairwise(falling))
    if falling:
        assert falling[0] == pytest.approx(2.0)
    if len(falling) > 1 and schedule != "constant":
        assert falling[-1] == pytest.approx(2.0 * floor)


def test_known_values() -> None:
    plan = OptimPlan(lr=1.0, total_steps=5, schedule="cosine", min_lr_ratio=0.2)
    assert [rate(plan, n) for n in range(1, 6)] == pytest.approx(
        [1.0, 0.2 + 0.8 * 0.8535533906, 0.6, 0.2 + 0.8 * 0.1464466094, 0.2]
    )
    with pytest.raises(ConfigError, match="cosin"):
        rate(OptimPlan(lr=1.0, total_steps=5, schedule="cosin"), 2)
