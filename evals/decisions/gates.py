"""Decisions after a stage: the gate against parent and base, and which of several stages is best.
They read `select` only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from evals.scoring.stats import questions_needed
from rl.config import Section
from rl.errors import EvalError, GateError

Verdict = Literal["pass", "warn", "fail"]
_SEVERITY: dict[Verdict, int] = {"pass": 0, "warn": 1, "fail": 2}
# A share of readable answers that rises by more than this is worth a look: the answers, a template
# or the parser changed.
_PARSE_JUMP = 0.2
# Below so many degrees of freedom (images less categories) bounds are not trusted; see
# docs/statistics.md.
_MIN_DF = 4
# A change on the limit itself would take endless questions: where a question's variance is so many
# times the squared distance from it, no number is named.
_MOST_TOLD = 1_000_000


class GateConfig(Section):
    """The recipe's `evals.gate`."""

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
    """The gate's decision on one benchmark; `n_to_decide` questions in `select` would settle a
    warning. `alarms` are rises too good to be believed; they change no verdict.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    max_drop_percent: float
    n_to_decide: int | None = None
    alarms: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return {**asdict(self), "reasons": list(self.reasons), "alarms": list(self.alarms)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Gate:
        """The gate that `as_dict` wrote."""
        lists = {key: tuple(values.get(key, ())) for key in ("reasons", "alarms")}
        return cls(**{**values, **lists})


def decide(
    comparisons: Mapping[str, Mapping[str, Any]],
    *,
    max_score: float,
    config: GateConfig,
    num_questions: int,
) -> Gate:
    """Passes, warns or fails by the `select` comparisons with parent and base (the contract's
    `comparisons`).

    A drop larger than allowed is ruled out where the one-sided lower 95 % bound of the paired
    difference lies above it (pass), shown where the upper one lies below it (fail), and open in
    between (warn; fail where `strict`).
    """
    allowed = config.max_drop_percent / 100 * max_score
    verdict: Verdict = "pass"
    found: Verdict
    reasons: list[str] = []
    alarms: list[str] = []
    needed: list[int] = []
    for whom, against in _each_once(comparisons).items():
        name = _name(whom, against["stage"])
        compared = against.get("select")
        if compared is None:
            refusal = against.get("refused") or "no questions in the select part"
            found, reason = "warn", f"{name}: not compared ({refusal})"
        else:
            found, reason = _against(name, compared, allowed, max_score, num_questions)
            if found == "warn":
                needed.append(_needed(compared, allowed, num_questions))
            # A jump since base was told at the stage that made it.
            if whom == "parent" or "parent" not in comparisons:
                alarms += _alarms(name, compared, config.alarm_rise_percent, max_score)
        if found == "warn" and config.strict:
            found, reason = "fail", f"{reason} (strict)"
        reasons.append(reason)
        verdict = max(verdict, found, key=_SEVERITY.__getitem__)
    if not comparisons:
        reasons.append("nothing to compare with")
    return Gate(
        verdict,
        tuple(reasons),
        config.max_drop_percent,
        max(needed) if any(needed) else None,
        tuple(alarms),
    )


def _each_once(
    comparisons: Mapping[str, Mapping[str, Any]],
) -> dict[str, Mapping[str, Any]]:
    """The comparisons without base's where base is the parent: it is the same one."""
    parent = comparisons.get("parent")
    return {
        whom: against
        for whom, against in comparisons.items()
        if whom == "parent" or parent is None or against["stage"] != parent["stage"]
    }


def _name(whom: str, stage: str) -> str:
    """`against its parent sft`, `against base`."""
    if whom == "parent":
        return f"against its parent {stage}"
    return f"against {stage}" if stage == whom else f"against {whom} ({stage})"


def failures(gates: Mapping[str, Gate]) -> str:
    """The failed benchmarks with their reasons in one line; empty where none failed."""
    failed = {name: gate for name, gate in gates.items() if gate.verdict == "fail"}
    return " | ".join(f"{name}: {'; '.join(gate.reasons)}" for name, gate in failed.items())


def worst(gates: Mapping[str, Gate]) -> int:
    """The worst verdict as a number: 0 pass, 1 warn, 2 fail."""
    return max((_SEVERITY[gate.verdict] for gate in gates.values()), default=0)


def enforce(gates: Mapping[str, Gate], config: GateConfig, stage: str) -> None:
    """Raises: GateError naming stage, benchmark and reason where a gate failed and `on_fail` is
    stop.
    """
    failed = failures(gates)
    if failed and config.on_fail == "stop":
        raise GateError(
            f"the gate failed: {failed}",
            where=f"stage {stage}",
            expected=f"no drop beyond {config.max_drop_percent:g} % of the maximum",
            do="see the report, or set evals.gate.on_fail=warn",
        )


class Best(NamedTuple):
    """The chosen stage, and the scores that chose it, in one line."""

    stage: str
    why: str


def best(stages: Mapping[str, Path | Mapping[str, Mapping[str, Any]]]) -> Best:
    """The stage with the highest mean over benchmarks of value / maximum on `select`; the first of
    equals.

    `stages` maps a stage to its folder `evals/<stage>`, or to benchmark -> contents of result.json.
    Raises: EvalError where the stages were not scored on the same benchmarks.
    """
    if not stages:
        raise EvalError(
            "no stages to choose from",
            where="best()",
            expected="one evaluated stage or more",
            do="name stages in from: best(...)",
        )
    results = {name: _results(given) for name, given in stages.items()}
    benchmarks = {name: sorted(found) for name, found in results.items()}
    first = next(iter(benchmarks))
    for name, found in benchmarks.items():
        if not found or found != benchmarks[first]:
            raise EvalError(
                f"{name} was scored on {found or 'nothing'}",
                where="best()",
                expected=f"the benchmarks of {first}: {benchmarks[first]}",
                do="evaluate every stage that best() names on the same benchmarks",
            )
    scores = {name: select_score(found) for name, found in results.items()}
    chosen = max(scores, key=scores.__getitem__)
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    return Best(chosen, f"mean share of the maximum on the select parts: {listed}")


def _results(given: Path | Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(given, Path):
        return given
    return {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(given.glob("*/result.json"))
    }


def select_score(results: Mapping[str, Mapping[str, Any]]) -> float:
    """The mean over benchmarks of value / maximum on the `select` part. Raises: EvalError without
    one.
    """
    shares = []
    for benchmark, result in results.items():
        part = result["parts"].get("select")
        if part is None or not part["n"] or part["value"] is None:
            raise EvalError(
                "no score on the select part" if part and part["n"] else "no select part",
                where=f"{benchmark} of stage {result.get('stage', '?')}",
                expected="questions in both parts: decisions read select only",
                do="raise evals.benchmarks[].limit, or give a select file beside the report one",
            )
        shares.append(part["value"] / part.get("max", result["primary"]["max"]))
    return math.fsum(shares) / len(shares)


def _against(
    name: str, compared: Mapping[str, Any], allowed: float, max_score: float, num_questions: int
) -> tuple[Verdict, str]:
    """The verdict, and in plain sentences: what was compared, which bound decided, what would."""
    low, high = compared["lower_bound"], compared["upper_bound"]
    drop = f"a drop of more than {_points(allowed, max_score)} points"
    if max_score != 1:
        drop += f" ({100 * allowed / max_score:g} % of the maximum {max_score:g})"
    asked = compared.get("n", num_questions)
    seen = (
        f"on {asked:,} questions of the select part the score changed by "
        f"{_points(compared['difference'], max_score, '+')} points"
    )
    floor, ceiling = (
        f"not {side} {_points(bound, max_score, '+')}"
        for side, bound in (("below", low), ("above", high))
    )
    sure = "with 95 % confidence the true change is"
    both = "each with 95 % confidence, the true change is"
    if compared.get("degrees_of_freedom", _MIN_DF) < _MIN_DF:
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
    """An amount in the benchmark's own unit; of a share, in percent."""
    return f"{100 * value:{sign}.2f}" if max_score == 1 else f"{value:{sign}.1f}"


def _what_would_decide(compared: Mapping[str, Any], allowed: float, asked: int) -> str:
    """How many questions settle the matter 4 times in 5: were the change as it is seen, and were
    there none.
    """
    away = abs(compared["difference"] + allowed)
    variance = asked * compared["stderr"] ** 2
    told = []
    if 0 < variance < away * away * _MOST_TOLD:
        seen = questions_needed(variance, away)
        told.append(f"{seen:,} questions if the change is as large as seen here")
    if none := _needed(compared, allowed, asked):
        told.append(f"{none:,} questions if there is no change at all")
    if not told:
        return "No number of questions decides this: the change lies on the limit."
    return f"To decide 4 times in 5, it takes about {', about '.join(told)}."


def _needed(compared: Mapping[str, Any], allowed: float, num_questions: int) -> int:
    """Questions that would rule out the drop were there none: from this comparison's own variance a
    question.
    """
    num = compared.get("n", num_questions)
    if allowed <= 0 or num <= 0:
        return 0
    return questions_needed(num * compared["stderr"] ** 2, allowed)


def _alarms(
    name: str, compared: Mapping[str, Any], rise_percent: float, max_score: float
) -> list[str]:
    """What is too good: a rise shown to be larger than expected, a gain that comes with a jump of
    the share of answers that could be read.
    """
    before, after = compared["decomposition"]["parse_rate"]
    parsed = (
        f"the share of answers that could be read rose from {100 * before:.1f} % to "
        f"{100 * after:.1f} %"
    )
    expected = rise_percent / 100 * max_score
    found = []
    if compared["lower_bound"] > expected:
        seen = _points(compared["difference"], max_score, "+")
        found.append(
            f"{name}: a rise of more than {_points(expected, max_score)} points is shown ({seen}); "
            f"look at answers that changed: a parser, a template or a leak may be behind it"
            + (f"; {parsed}" if after > before else "")
        )
    elif after - before > _PARSE_JUMP and compared["difference"] > 0:
        found.append(
            f"{name}: {parsed}: look whether answers became readable, or the parser changed"
        )
    return found
