"""The gate: did a stage lose more than the recipe allows?

After a stage its answers to the `select` questions are compared, question by question, with those
of its parent (the stage it started from) and of `base`. `decide` reads the one-sided 95 % bounds of
that difference and returns pass, warn or fail; `enforce` stops the run where the recipe says so.
How often the gate is wrong is measured in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from evals.scoring.significance import questions_needed
from rl.config import Section
from rl.errors import GateError

Verdict = Literal["pass", "warn", "fail"]
_SEVERITY: dict[Verdict, int] = {"pass": 0, "warn": 1, "fail": 2}
# The share of readable answers may rise by so much before the rise is flagged: above it, the
# answers' form, a template or the parser has probably changed.
_MAX_PARSE_RISE = 0.2
# Bounds from fewer degrees of freedom (images minus categories) are too narrow; see
# docs/statistics.md.
_MIN_DEGREES_OF_FREEDOM = 4
# A true change that lies on the limit itself would take infinitely many questions. No number is
# named where one question's variance is more than this many times the squared distance from it.
_MAX_VARIANCE_RATIO = 1_000_000


class GateConfig(Section):
    """The recipe's `evals.gate`.

    evals:
      gate: {max_drop_percent: 2, on_fail: rollback}
    """

    max_drop_percent: float = Field(
        2.0, ge=0, description="Largest drop allowed, in percent of the benchmark's maximum."
    )
    on_fail: Literal["stop", "rollback", "warn"] = Field(
        "stop", description="What a failed gate does; rollback: later stages start from the parent."
    )
    strict: bool = Field(False, description="Whether too little evidence fails as well.")
    alarm_rise_percent: float = Field(
        40.0,
        gt=0,
        description="A rise shown to be larger is flagged: a parser, a leak?",
    )


@dataclass(frozen=True)
class Gate:
    """The gate's decision on one benchmark.

    `reasons` has one sentence for each comparison. `n_to_decide` is how many `select` questions
    would turn a warning into a pass if nothing was lost. `alarms` are rises too large to be
    believed; they change no verdict.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    max_drop_percent: float
    n_to_decide: int | None = None
    alarms: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The decision as result.json holds it."""
        return {**asdict(self), "reasons": list(self.reasons), "alarms": list(self.alarms)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Gate:
        """Reads what `as_dict` wrote."""
        lists = {key: tuple(values.get(key, ())) for key in ("reasons", "alarms")}
        return cls(**{**values, **lists})


def decide(
    comparisons: Mapping[str, Mapping[str, Any]],
    *,
    max_score: float,
    config: GateConfig,
    num_questions: int,
) -> Gate:
    """The decision on one benchmark: the worst verdict of its comparisons.

    The allowed drop is `max_drop_percent` of `max_score`. A comparison passes where a larger drop
    is ruled out (the lower bound lies above it), fails where one is shown (the upper bound lies
    below it), and warns in between; with `strict` a warning fails.

    `comparisons` maps "parent" and "base" to what result.json holds under `comparisons`.
    `num_questions` is used where a comparison does not say its own `n`.

    2 % of 100 are 2 points. The true change is above -2.5, which may be a drop of more than 2:

    >>> select = {
    ...     "difference": -0.5, "lower_bound": -2.5, "upper_bound": 1.5, "stderr": 1.2, "n": 900,
    ...     "decomposition": {"parse_rate": [0.9, 0.9]},
    ... }
    >>> against = {"parent": {"stage": "sft", "select": select}}
    >>> gate = decide(against, max_score=100, config=GateConfig(), num_questions=900)
    >>> gate.verdict, gate.n_to_decide
    ('warn', 2004)
    """
    allowed = config.max_drop_percent / 100 * max_score
    verdict: Verdict = "pass"
    reasons: list[str] = []
    alarms: list[str] = []
    needed: list[int] = []
    for role, against in _distinct(comparisons).items():
        name = _describe(role, against["stage"])
        compared = against.get("select")
        one: Verdict
        if compared is None:
            refusal = against.get("refused") or "no questions in the select part"
            one, reason = "warn", f"{name}: not compared ({refusal})"
        else:
            one, reason = _decide_one(name, compared, allowed, max_score, num_questions)
            if one == "warn":
                needed.append(_questions_if_unchanged(compared, allowed, num_questions))
            # A jump since base was already flagged in the stage that made it.
            if role == "parent" or "parent" not in comparisons:
                alarms += _alarms(name, compared, config.alarm_rise_percent, max_score)
        if one == "warn" and config.strict:
            one, reason = "fail", f"{reason} (strict)"
        reasons.append(reason)
        verdict = max(verdict, one, key=_SEVERITY.__getitem__)
    if not comparisons:
        reasons.append("nothing to compare with")
    return Gate(
        verdict=verdict,
        reasons=tuple(reasons),
        max_drop_percent=config.max_drop_percent,
        n_to_decide=max(needed) if any(needed) else None,
        alarms=tuple(alarms),
    )


def failures(gates: Mapping[str, Gate]) -> str:
    """The failed benchmarks with their reasons in one line; empty where none failed."""
    failed = {name: gate for name, gate in gates.items() if gate.verdict == "fail"}
    return " | ".join(f"{name}: {'; '.join(gate.reasons)}" for name, gate in failed.items())


def worst(gates: Mapping[str, Gate]) -> int:
    """The worst verdict as a number: 0 pass, 1 warn, 2 fail."""
    return max((_SEVERITY[gate.verdict] for gate in gates.values()), default=0)


def enforce(gates: Mapping[str, Gate], config: GateConfig, stage: str) -> None:
    """Stops the run where a gate failed and `on_fail` is stop. Raises: GateError naming stage,
    benchmark and reason.
    """
    failed = failures(gates)
    if failed and config.on_fail == "stop":
        raise GateError(
            f"the gate failed: {failed}",
            where=f"stage {stage}",
            expected=f"no drop beyond {config.max_drop_percent:g} % of the maximum",
            do="see the report, or set evals.gate.on_fail=warn",
        )


def _distinct(comparisons: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The comparisons, without the one with base where base is the parent: it would come twice."""
    parent = comparisons.get("parent")
    return {
        role: against
        for role, against in comparisons.items()
        if role == "parent" or parent is None or against["stage"] != parent["stage"]
    }


def _describe(role: str, stage: str) -> str:
    """`against its parent sft`, `against base`."""
    if role == "parent":
        return f"against its parent {stage}"
    return f"against {stage}" if stage == role else f"against {role} ({stage})"


def _decide_one(
    name: str, compared: Mapping[str, Any], allowed: float, max_score: float, num_questions: int
) -> tuple[Verdict, str]:
    """One comparison's verdict and its sentence: what was compared on how many questions, which
    bound decided and, for a warning, how many questions would decide.
    """
    low, high = compared["lower_bound"], compared["upper_bound"]
    drop = f"a drop of more than {_points(allowed, max_score)} points"
    if max_score != 1:
        drop += f" ({100 * allowed / max_score:g} % of the maximum {max_score:g})"
    asked = compared.get("n", num_questions)
    seen = (
        f"on {asked:,} questions of the select part the score changed by "
        f"{_points(compared['difference'], max_score, '+')} points"
    )
    floor = f"not below {_points(low, max_score, '+')}"
    ceiling = f"not above {_points(high, max_score, '+')}"
    sure = "with 95 % confidence the true change is"
    both = "each with 95 % confidence, the true change is"
    if compared.get("degrees_of_freedom", _MIN_DEGREES_OF_FREEDOM) < _MIN_DEGREES_OF_FREEDOM:
        return "warn", f"{name}: too few images for a decision about {drop}: {seen}"
    if low > -allowed:
        return "pass", f"{name}: {drop} is ruled out: {seen}; {sure} {floor}"
    if high < -allowed:
        return "fail", f"{name}: {drop} is shown: {seen}; {sure} {ceiling}"
    return "warn", (
        f"{name}: not enough evidence: {drop} is neither ruled out nor shown: {seen}; {both} "
        f"{floor} and {ceiling}. "
        f"{_what_would_decide(compared, allowed, asked)}"
    )


def _points(value: float, max_score: float, sign: str = "") -> str:
    """An amount in the benchmark's own unit; of a share (maximum 1), in percent."""
    return f"{100 * value:{sign}.2f}" if max_score == 1 else f"{value:{sign}.1f}"


def _what_would_decide(compared: Mapping[str, Any], allowed: float, asked: int) -> str:
    """How many questions would decide with a power of 80 %: if the true change is the one seen, and
    if there is none.
    """
    distance = abs(compared["difference"] + allowed)  # from the limit, -allowed
    variance = asked * compared["stderr"] ** 2  # of one question: stderr^2 = variance / questions
    numbers = []
    if 0 < variance < distance * distance * _MAX_VARIANCE_RATIO:
        if_as_seen = questions_needed(variance, distance)
        numbers.append(f"{if_as_seen:,} questions if the change is as large as seen here")
    if if_none := _questions_if_unchanged(compared, allowed, asked):
        numbers.append(f"{if_none:,} questions if there is no change at all")
    if not numbers:
        return "No number of questions decides this: the change lies on the limit."
    return f"To decide 4 times in 5, it takes about {', about '.join(numbers)}."


def _questions_if_unchanged(compared: Mapping[str, Any], allowed: float, num_questions: int) -> int:
    """How many questions would rule out the drop if there is none, by the variance of a question
    that this comparison shows; 0 where no number does.
    """
    num = compared.get("n", num_questions)
    if allowed <= 0 or num <= 0:
        return 0
    return questions_needed(num * compared["stderr"] ** 2, allowed)


def _alarms(
    name: str, compared: Mapping[str, Any], rise_percent: float, max_score: float
) -> list[str]:
    """What looks too good: a rise shown to be larger than expected, or a gain that comes with a
    jump of the share of answers that could be read.
    """
    before, after = compared["decomposition"]["parse_rate"]
    parsed = (
        f"the share of answers that could be read rose from {100 * before:.1f} % to "
        f"{100 * after:.1f} %"
    )
    expected = rise_percent / 100 * max_score
    alarms = []
    if compared["lower_bound"] > expected:
        seen = _points(compared["difference"], max_score, "+")
        alarms.append(
            f"{name}: a rise of more than {_points(expected, max_score)} points is shown ({seen}); "
            f"look at answers that changed: a parser, a template or a leak may be behind it"
            + (f"; {parsed}" if after > before else "")
        )
    elif after - before > _MAX_PARSE_RISE and compared["difference"] > 0:
        alarms.append(
            f"{name}: {parsed}: look whether answers became readable, or the parser changed"
        )
    return alarms
