"""What evaluations inside a stage decide, without engines: best, early stop, gate."""

from typing import Any

import pytest

from evals.decisions.gate import GateConfig
from recipes.running.watch import Ending, StageEnded, Watch
from recipes.schema.train_stage import TrainStage
from rl.errors import GateError

PASS, WARN, FAIL = 0, 1, 2


def watch(*seen: tuple[int, float, int], on_fail: str = "stop", **stage: Any) -> Watch:
    section = TrainStage.model_validate(
        {"name": "sft", "algorithm": "sft", "data": [{"path": "x"}], "eval_every": 1, **stage}
    )
    found = Watch(section, GateConfig(on_fail=on_fail))  # type: ignore[arg-type]
    for step, score, verdict in seen:
        found.note({"step": step, "eval/select": score, "eval/gate": verdict})
    return found


def test_the_best_is_the_first_of_equals_and_has_not_failed() -> None:
    found = watch((1, 0.5, PASS), (2, 0.7, WARN), (3, 0.7, PASS), (4, 0.9, FAIL))
    assert found.best_step == 2
    assert watch((1, 0.1, FAIL), (2, 0.3, FAIL), on_fail="warn").best_step == 2
    assert watch().best_step is None


def test_lines_without_an_evaluation_and_repeated_steps() -> None:
    found = watch((1, 0.5, PASS))
    found.note({"step": 2, "loss": 1.0})
    found.note({"step": 1, "eval/select": 0.6, "eval/gate": 1.0})
    assert found.seen == [(1, 0.6, WARN)]


def test_patience_counts_evaluations_without_improvement() -> None:
    stop = {"early_stop": {"patience": 2, "min_delta": 0.01}}
    assert watch((1, 0.5, PASS), (2, 0.505, PASS), **stop).ending is None
    ended = watch((1, 0.5, PASS), (2, 0.505, PASS), (3, 0.51, PASS), **stop)
    assert ended.ending == Ending(
        3, "early_stop", "no improvement of the select parts in 2 evaluations up to step 3"
    )
    with pytest.raises(StageEnded):
        ended.leave()
    again = watch((1, 0.5, PASS), (2, 0.4, PASS), (3, 0.52, PASS), (4, 0.5, PASS), **stop)
    assert again.ending is None
    again.leave()


def test_small_rises_add_up_only_against_the_best() -> None:
    # 0.008 a time: the second is 0.016 above the last improvement.
    stop = {"early_stop": {"patience": 2, "min_delta": 0.01}}
    rows = [(step, 0.5 + 0.008 * step, PASS) for step in range(1, 7)]
    assert watch(*rows, **stop).ending is None


@pytest.mark.parametrize(("on_fail", "kept"), [("rollback", 1), ("stop", None), ("warn", None)])
def test_a_failed_gate_ends_the_stage_but_for_warn(on_fail: str, kept: int | None) -> None:
    found = watch((1, 0.5, WARN), (2, 0.9, FAIL), on_fail=on_fail)
    assert found.good_step == 1
    assert found.kept_step == kept
    if on_fail == "stop":
        with pytest.raises(GateError, match="sft: the gate failed at step 2: mme: lost") as told:
            found.leave("mme: lost")
        assert told.value.exit_code == 3
    elif on_fail == "rollback":
        with pytest.raises(StageEnded):
            found.leave("mme: lost")
    else:
        assert found.ending is None


def test_keep_best_keeps_the_best_whatever_on_fail_says() -> None:
    found = watch((1, 0.5, PASS), (2, 0.4, PASS), on_fail="rollback", keep_best=True)
    assert found.kept_step == 1


def test_early_stop_needs_evaluations() -> None:
    with pytest.raises(ValueError, match="`early_stop` needs `eval_every`"):
        watch(eval_every=None, early_stop={"patience": 1})
