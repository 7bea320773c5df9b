import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.errors import ModelError
from rl.learners.base import LearnerConfig
from rl.learners.engine import zero_stage
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


ALONE = LearnerConfig(ranks=1, zero=1)


def test_one_rank_partitions_nothing_in_float32() -> None:
    assert [zero_stage(LearnerConfig(zero=zero)) for zero in (0, 1, 2, 3)] == [0, 0, 0, 3]
    assert zero_stage(LearnerConfig(zero=1, ranks=2)) == 1
    assert zero_stage(LearnerConfig(zero=1, offload=True)) == 1
    assert zero_stage(LearnerConfig(zero=2, dtype="bfloat16")) == 2


def test_a_partitioned_state_is_refused_where_nothing_is_partitioned(tmp_path: Path) -> None:
    """Earlier versions ran ZeRO 1 on one rank too, and their states do not name the stage."""
    save_settings(tmp_path, ALONE)
    check_settings(tmp_path, ALONE)
    file = tmp_path / "learner.json"
    settings = json.loads(file.read_text())
    assert settings.pop("stage") == 0
    file.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"as ZeRO 1 keeps them, and this learner runs ZeRO 0"):
        check_settings(tmp_path, ALONE)
