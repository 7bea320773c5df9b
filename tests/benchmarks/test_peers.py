"""The arithmetic of bench_peers, and its refusal to compare unequal work."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.bench_peers import require_equal_work, table
from tests.benchmarks.peers.ratios import Ratio, ratio_over_rounds, samples_per_second
from tests.benchmarks.peers.recorder import num_trained


def test_the_first_three_steps_are_left_out() -> None:
    assert samples_per_second([100.0, 100.0, 100.0, 2.0, 2.0], samples_per_step=16) == 8.0


def test_counted_steps_bear_their_share_of_what_is_done_once() -> None:
    # 8 seconds for the rows of 4 steps: 2 of them are the counted step's.
    assert samples_per_second([9.0, 9.0, 9.0, 2.0], samples_per_step=16, once_s=8.0) == 4.0


def test_three_steps_give_no_rate() -> None:
    with pytest.raises(ValueError, match="more than 3"):
        samples_per_second([1.0, 1.0, 1.0], samples_per_step=16)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # Ratios 2, 1 and 3. The ratio of the two medians would be 20 / 20 = 1.
    assert ratio_over_rounds([20.0, 10.0, 90.0], [10.0, 10.0, 30.0]) == Ratio(2.0, 1.0, 3.0)


def test_rounds_are_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_over_rounds([1.0, 2.0], [1.0])


def run(rate: float, **facts: Any) -> dict[str, Any]:
    equal = {"rows": 16, "tokens_trained": 40, "answer_lengths": None}
    return {"samples_per_second": rate, **equal, **facts}


def test_unequal_work_is_refused() -> None:
    require_equal_work("sft", {"plumbline": run(2.0), "trl": run(1.0)})
    floats, integers = run(2.0, answer_lengths=[16.0, 16.0]), run(1.0, answer_lengths=[16, 16])
    require_equal_work("grpo", {"plumbline": floats, "floor": integers})
    with pytest.raises(SystemExit, match="tokens_trained"):
        require_equal_work("sft", {"plumbline": run(2.0), "trl": run(1.0, tokens_trained=56)})


def test_the_table_has_medians_and_ratios() -> None:
    rounds = {"plumbline": [run(2.0), run(4.0), run(6.0)], "trl": [run(1.0), run(4.0), run(2.0)]}
    assert table({"sft": rounds}).splitlines() == [
        "| case | plumbline, samples/s | trl, samples/s | plumbline / trl |",
        "| --- | --- | --- | --- |",
        "| sft | 4.0 | 2.0 | 2.00 (1.00 to 3.00) |",
    ]


def test_a_label_in_the_first_column_is_not_trained() -> None:
    import torch

    labels = torch.tensor([[5, -100, 7, 8], [-100, -100, -100, 9]])
    assert num_trained({"labels": labels}) == 3
    assert num_trained({"completion_mask": torch.tensor([[0, 1, 1]])}) == 2
    assert num_trained([{"prompt": "..."}]) == 0
