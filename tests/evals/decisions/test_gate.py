"""The gate: it reads the select part and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.decisions.gate import Gate, GateConfig, decide, enforce, failures, worst
from rl.errors import GateError


def against(low: float, high: float, stage: str = "sft", parse=(1.0, 1.0)) -> dict:
    middle = (low + high) / 2
    compared = {
        "difference": middle,
        "lower_bound": low,
        "upper_bound": high,
        "stderr": (high - low) / 3.29,
        "decomposition": {"parse_rate": list(parse)},
    }
    return {"stage": stage, "select": compared, "report": None}


def gate(*pairs, config: GateConfig | None = None, max_score: float = 100.0) -> Gate:
    comparisons = dict(zip(("parent", "base"), pairs, strict=False))
    config = config or GateConfig()
    return decide(comparisons, max_score=max_score, config=config, num_questions=1000)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-1.9, 1.0, "pass"), (3.0, 9.0, "pass"), (-4.0, -2.1, "fail"), (-4.0, 1.0, "warn")],
)
def test_bounds_decide(low, high, verdict):
    assert gate(against(low, high)).verdict == verdict


def test_percent_is_of_the_maximum():
    assert gate(against(-19.0, 5.0), max_score=1000.0).verdict == "pass"
    assert gate(against(-19.0, 5.0), max_score=100.0).verdict == "warn"


def test_the_worst_of_parent_and_base_counts():
    assert gate(against(-1, 1), against(-9, -5, "base")).verdict == "fail"
    assert gate(against(-3, 1), against(-1, 5, "base")).verdict == "warn"


def test_a_warning_says_how_many_questions_would_decide():
    # A standard error of 1 point at 1000 questions, 2 points allowed.
    found = gate(against(-1.645 - 1, 1.645 - 1))
    assert found.verdict == "warn"
    assert found.n_to_decide == pytest.approx(1000 * (2.4865 / 2) ** 2, rel=0.01)
    assert gate(against(-1, 1)).n_to_decide is None


def test_a_reason_says_what_was_compared_which_bound_and_what_would_decide():
    (passed,) = gate(against(-1.9, 1.0)).reasons
    assert passed == (
        "against its parent sft: a drop of more than 2.0 points (2 % of the maximum 100) is ruled "
        "out: on 1,000 questions of the select part the score changed by -0.4 points; with 95 % "
        "confidence the true change is not below -1.9"
    )
    (failed,) = gate(against(-4.0, -2.1)).reasons
    assert "is shown: on 1,000 questions" in failed
    assert failed.endswith("with 95 % confidence the true change is not above -2.1")
    # Half as far from the limit as no change is: four times the questions, and a few for rounding.
    (open_,) = gate(against(-1.645 - 1, 1.645 - 1)).reasons
    assert "is neither ruled out nor shown" in open_
    assert (
        "each with 95 % confidence, the true change is not below -2.6 and not above +0.6" in open_
    )
    assert open_.endswith(
        "it takes about 6,183 questions if the change is as large as seen here, about 1,546 "
        "questions if there is no change at all."
    )


def test_shares_are_told_in_percent_and_a_change_on_the_limit_is_never_decided():
    (reason,) = gate(against(-0.03, 0.01), max_score=1.0).reasons
    assert "a drop of more than 2.00 points is neither" in reason
    assert "changed by -1.00 points" in reason
    (limit,) = gate(against(-4.0, 0.0)).reasons
    assert "if the change is as large as seen here" not in limit


def test_strict_turns_a_warning_into_a_failure():
    assert gate(against(-4, 1), config=GateConfig(strict=True)).verdict == "fail"


def test_nothing_to_compare_with_passes():
    assert gate().verdict == "pass"


def test_a_refused_comparison_warns():
    refused = {"stage": "base", "select": None, "refused": "max_pixels differs: 64 and 128"}
    found = gate(refused)
    assert found.verdict == "warn"
    assert "max_pixels" in found.reasons[0]


def test_a_jump_of_readable_answers_is_flagged():
    found = gate(against(5, 15, parse=(0.4, 0.9)))
    assert found.verdict == "pass"
    (alarm,) = found.alarms
    assert alarm.endswith(
        "the share of answers that could be read rose from 40.0 % to 90.0 %: look whether answers "
        "became readable, or the parser changed"
    )


def test_a_jump_since_base_is_told_by_the_stage_that_made_it():
    jump = against(5, 15, parse=(0.0, 1.0))
    assert gate(against(-1, 1), jump).alarms == ()
    assert len(gate(jump, jump).alarms) == 1


def test_a_rise_beyond_the_expected_is_flagged_and_changes_no_verdict():
    found = gate(against(41, 60))
    assert found.verdict == "pass"
    assert "a rise of more than 40.0 points is shown" in found.alarms[0]
    assert gate(against(39, 60)).alarms == ()
    assert gate(against(39, 60), config=GateConfig(alarm_rise_percent=20)).alarms
    jump = gate(against(41, 60, parse=(0.1, 0.9))).alarms
    assert len(jump) == 1
    assert "could be read rose from 10.0 % to 90.0 %" in jump[0]


def test_too_few_images_decide_nothing():
    few = against(-1, 1)
    few["select"]["degrees_of_freedom"] = 3
    assert gate(few).verdict == "warn"
    assert "too few images" in gate(few).reasons[0]
    few["select"]["degrees_of_freedom"] = 4
    assert gate(few).verdict == "pass"


def test_a_gate_is_written_and_read():
    for found in (gate(against(-3, 1)), gate(against(41, 60)), gate()):
        assert Gate.of(json.loads(json.dumps(found.as_dict()))) == found


def test_worst_and_failures():
    gates = {"a": gate(against(-1, 1)), "b": gate(against(-9, -5)), "c": gate(against(-3, 1))}
    assert worst(gates) == 2
    assert failures(gates).startswith(
        "b: against its parent sft: a drop of more than 2.0 points (2 % of the maximum 100) "
        "is shown"
    )
    assert worst({"a": gates["a"], "c": gates["c"]}) == 1
    assert failures({"a": gates["a"]}) == ""
    assert worst({}) == 0


@given(st.floats(-50, 50), st.floats(0, 20))
def test_verdicts_never_improve_as_the_difference_falls(low, width):
    order = ["pass", "warn", "fail"]
    higher = gate(against(low, low + width)).verdict
    lower = gate(against(low - 1, low + width - 1)).verdict
    assert order.index(lower) >= order.index(higher)


def test_enforce_stops_or_warns():
    failed = {"mme": gate(against(-9, -5))}
    with pytest.raises(
        GateError, match="stage dpo: the gate failed: mme: against its parent sft"
    ) as caught:
        enforce(failed, GateConfig(), "dpo")
    assert caught.value.exit_code == 3
    enforce(failed, GateConfig(on_fail="warn"), "dpo")
    enforce(failed, GateConfig(on_fail="rollback"), "dpo")
    enforce({"mme": gate(against(-3, 1))}, GateConfig(), "dpo")
