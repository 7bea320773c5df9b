"""The leaderboard: one row per stage and benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evals.report.display.figures import Scale
from evals.report.records import Interval, PartName, Primary, Result
from evals.report.run import Run, Stage
from evals.scoring.significance import holm

ALPHA = 0.05


@dataclass(frozen=True)
class Against:
    """A stage's difference with another on one benchmark. `p_holm` is adjusted over the stage's
    benchmarks; `mde` is in accuracy, `mde_primary` in the benchmark's own unit.
    """

    stage: str
    difference: float | None
    interval: Interval | None
    p_value: float | None
    p_holm: float | None
    verdict: str
    accuracy_difference: float | None
    accuracy_interval: Interval | None
    mde: float | None
    mde_primary: float | None
    refused: str | None
    unequal: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One stage on one benchmark. Shares are in [0, 1]; `value` is in the benchmark's own unit, up
    to `max`.

        for row in rows(run):
            print(row.stage, row.benchmark, row.scale.value(row.value))  # sft mme 570.2
    """

    stage: str
    algorithm: str
    benchmark: str
    version: str
    profile: str
    part: str
    n: int
    images: int
    errors: int
    metric: str
    unit: str
    max: float
    value: float | None
    interval: Interval | None
    accuracy: float | None
    accuracy_interval: Interval | None
    majority_baseline: float | None
    majority_value: float | None
    random_baseline: float | None
    parse_rate: float | None
    truncated_share: float | None
    mean_tokens: float | None
    parent: Against | None
    base: Against | None
    gate: str | None
    contamination: str
    is_engine_compared: bool  # False: --no-parity
    weights: str | None
    settings: dict[str, Any]

    @property
    def scale(self) -> Scale:
        return Scale.of(Primary(name=self.metric, max=self.max, unit=self.unit))


def rows(run: Run) -> list[Row]:
    """The leaderboard's rows: benchmarks in the order of the recipe, and within each the stages."""
    p_values = {
        (stage.name, role): adjusted(stage, role)
        for stage in run.scored
        for role in ("parent", "base")
    }
    return [
        _row(run, stage, stage.results[benchmark], p_values)
        for benchmark in run.benchmarks
        for stage in run.scored
        if benchmark in stage.results
    ]


def adjusted(
    stage: Stage, role: Literal["parent", "base"], part: PartName | None = None
) -> dict[str, float]:
    """Holm-adjusted p-values of a stage over its benchmarks, on `part` or on the part that is
    shown.
    """
    found = {
        name: comparison.p_value
        for name, result in stage.results.items()
        if (against := result.against(role)) is not None
        and (comparison := against.part(part or result.shown)) is not None
        and comparison.p_value is not None
    }
    return holm(found)


def _row(
    run: Run, stage: Stage, result: Result, p_values: dict[tuple[str, str], dict[str, float]]
) -> Row:
    part = result.part
    against = {
        role: _against(run, result, role, p_values[stage.name, role].get(result.benchmark))
        for role in ("parent", "base")
    }
    return Row(
        stage=stage.name,
        algorithm=stage.algorithm or stage.kind,
        benchmark=result.benchmark,
        version=result.version,
        profile=result.profile,
        part=result.shown,
        n=part.n,
        images=part.clusters,
        errors=part.errors,
        metric=result.primary.name,
        unit=result.primary.unit,
        max=result.most(part),
        value=part.value,
        interval=part.interval,
        accuracy=part.accuracy,
        accuracy_interval=part.accuracy_interval,
        majority_baseline=part.majority_baseline,
        majority_value=part.majority_value,
        random_baseline=part.random_baseline,
        parse_rate=part.parse_rate,
        truncated_share=part.truncated_share,
        mean_tokens=part.mean_tokens,
        parent=against["parent"],
        base=against["base"],
        gate=result.gate.verdict if result.gate and any(against.values()) else None,
        contamination=result.contamination.state,
        is_engine_compared=result.is_engine_compared,
        weights=result.weights,
        settings=result.settings,
    )


def _against(
    run: Run, result: Result, role: Literal["parent", "base"], p_holm: float | None
) -> Against | None:
    against = result.against(role)
    if against is None or against.stage is None or against.stage == result.stage:
        return None
    comparison = result.comparison(role)
    if comparison is None and against.refused is None:
        return None
    other = run.stage(against.stage)
    theirs = other.results.get(result.benchmark) if other else None
    return Against(
        stage=against.stage,
        difference=comparison.difference if comparison else None,
        interval=comparison.interval if comparison else None,
        p_value=comparison.p_value if comparison else None,
        p_holm=p_holm,
        verdict=adjusted_verdict(comparison.verdict, p_holm) if comparison else "refused",
        accuracy_difference=comparison.accuracy_difference if comparison else None,
        accuracy_interval=comparison.accuracy_interval if comparison else None,
        mde=comparison.mde if comparison else None,
        mde_primary=comparison.mde_primary if comparison else None,
        refused=against.refused,
        unequal=unequal(result, theirs),
    )


def adjusted_verdict(verdict: str, p_holm: float | None) -> str:
    """The verdict after adjustment over all benchmarks of the stage. Holm can only withdraw a
    claim.
    """
    is_claim = verdict in ("better", "worse")
    return "no evidence" if is_claim and p_holm is not None and p_holm > ALPHA else verdict


def unequal(result: Result, other: Result | None) -> tuple[str, ...]:
    """The settings that differ between two results and must not where these are compared."""
    if other is None:
        return ()
    mine = {**result.settings, "version": result.version, "profile": result.profile}
    theirs = {**other.settings, "version": other.version, "profile": other.profile}
    free = may_differ([mine, theirs])
    return tuple(
        sorted(
            key
            for key in mine.keys() | theirs.keys()
            if key not in free and mine.get(key) != theirs.get(key)
        )
    )


def may_differ(settings: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Settings that may be unequal where results are compared: the path of the data (its
    fingerprint is compared instead), and the seed where every answer was greedy.
    """
    is_greedy = all(found.get("temperature") == 0 for found in settings)
    return frozenset({"data_path", *(["seed"] if is_greedy else [])})
