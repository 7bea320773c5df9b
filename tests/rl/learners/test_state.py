import random
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.errors import ModelError
from rl.learners.base import LearnerConfig
from rl.learners.state import (
    check_settings,
    load_random_states,
    save_random_states,
    save_settings,
)

SAVED = LearnerConfig(ranks=2, zero=2, dtype="float16")


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_draws_go_on_where_they_were_saved(tmp_path: Path) -> None:
    save_random_states(tmp_path, rank=1, updates=7)
    wanted = draws()
    draws()
    assert load_random_states(tmp_path, rank=1) == 7
    assert draws() == wanted


def test_a_state_is_bound_to_no_other_setting(tmp_path: Path) -> None:
    save_settings(tmp_path, SAVED)
    check_settings(tmp_path, SAVED)
    check_settings(tmp_path, SAVED.model_copy(update={"threads": 7, "tokens_per_microbatch": 9}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranks": 1}, r"ranks: 2 -> 1"),
        ({"zero": 3, "offload": True}, r"zero: 2 -> 3, offload: False -> True"),
        ({"dtype": "bfloat16"}, r"dtype: float16 -> bfloat16"),
        ({"loss_scale": 128.0}, r"loss_scale: 0.0 -> 128.0"),
    ],
)
def test_another_learners_state_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    save_settings(tmp_path, SAVED)
    with pytest.raises(ModelError, match=rf"is another learner's \({said}\); .* --fresh"):
        check_settings(tmp_path, SAVED.model_copy(update=changes))


def test_a_state_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ranks: None -> 2"):
        check_settings(tmp_path, SAVED)
