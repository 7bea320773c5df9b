"""Why a stage starts from its parent: the select scores that `best(...)` compared, so that a
reader can check the choice.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from evals.report.display.figures import number, share
from evals.report.records import Part, Result
from evals.report.run import Run, Stage

_BEST = re.compile(r"\s*best\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """One of the stages that could have become the parent. `mean` is the mean over benchmarks of
    score / maximum, `half` the half width of its 95 % interval.
    """

    stage: str
    results: dict[str, Result]
    mean: float
    half: float | None
    is_chosen: bool
    shown: float | None = None  # the same mean on the report part

    def part(self, benchmark: str) -> Part:
        return self.results[benchmark].parts["select"]


@dataclass(frozen=True)
class Choice:
    """The candidates of one stage's parent, in the recipe's order. `highest` has the highest mean;
    where that is not the parent, scores changed after the choice.
    """

    rule: str
    benchmarks: tuple[str, ...]
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate | None:
        return next((item for item in self.candidates if item.is_chosen), None)

    @property
    def highest(self) -> Candidate:
        return max(self.candidates, key=lambda item: item.mean)

    @property
    def sentence(self) -> str:
        """Which candidate has the highest mean, by how much, and whether the intervals overlap."""
        highest, others = self.highest, [c for c in self.candidates if c is not self.highest]
        if self.chosen is not highest:
            name = self.chosen.stage if self.chosen else "another stage"
            return (
                f"{name} was chosen, but {highest.stage} has the highest mean now: scores were "
                "computed again after the choice"
            )
        second = max(others, key=lambda item: item.mean)
        ahead = 100 * (highest.mean - second.mean)
        lead = f"{number(ahead, 2)} points ahead of {second.stage}"
        text = f"{highest.stage} has the highest mean, {lead}"
        apart = _are_apart(highest, second)
        if apart is not None:
            text += "; their intervals do not overlap" if apart else "; their intervals overlap"
        return text

    @property
    def surprise(self) -> str:
        """Where another candidate scores higher on the report part: why the chosen one is the
        parent nevertheless. Empty where none does.
        """
        chosen = self.chosen
        shown = [c for c in self.candidates if c.shown is not None]
        if chosen is None or chosen.shown is None or chosen is not self.highest:
            return ""
        better = max(shown, key=lambda item: item.shown or 0.0)
        if better is chosen or (better.shown or 0.0) <= chosen.shown:
            return ""
        tie = ", a near tie" if _are_apart(chosen, better) is False else ""
        return (
            f"{chosen.stage}, though {better.stage} scores higher in this table on average: the "
            f"parent was chosen on other questions (select part){tie}: {share(chosen.mean, 2)} of "
            f"the maximum against {share(better.mean, 2)}"
        )


def choice(run: Run, stage: Stage) -> Choice | None:
    """The choice of a stage's parent; None where there was none, or a candidate was not scored."""
    found = _BEST.fullmatch(str(stage.facts.get("from") or ""))
    if found is None:
        return None
    names = [name.strip() for name in found[1].split(",")]
    stages = [run.stage(name) for name in dict.fromkeys(_replaced_by(run, n) for n in names)]
    scored = [
        (one.name, {name: r for name, r in one.results.items() if _has_select(r)})
        for one in stages
        if one is not None
    ]
    benchmarks = [name for name in run.benchmarks if all(name in found for _, found in scored)]
    if len(scored) < 2 or len(scored) < len(stages) or not benchmarks:
        return None
    return Choice(
        str(stage.facts["from"]),
        tuple(benchmarks),
        tuple(_candidate(name, found, benchmarks, stage.parent) for name, found in scored),
    )


def _candidate(
    name: str, results: dict[str, Result], benchmarks: list[str], parent: str | None
) -> Candidate:
    shares, halves = [], []
    for benchmark in benchmarks:
        result = results[benchmark]
        part = result.parts["select"]
        most = result.most(part)
        shares.append((part.value or 0.0) / most)
        if part.interval is not None:
            halves.append((part.interval[1] - part.interval[0]) / 2 / most)
    # Benchmarks share no question, so their errors are independent: variances add.
    half = math.hypot(*halves) / len(shares) if len(halves) == len(shares) else None
    mean = math.fsum(shares) / len(shares)
    return Candidate(name, results, mean, half, name == parent, _shown(results, benchmarks))


def _shown(results: dict[str, Result], benchmarks: list[str]) -> float | None:
    """The mean share of the maximum on the report part; None where one was not measured."""
    shares = [
        part.value / most
        for name in benchmarks
        if (part := results[name].parts.get("report")) is not None
        and part.value is not None
        and (most := results[name].most(part))
    ]
    return math.fsum(shares) / len(shares) if len(shares) == len(benchmarks) else None


def _are_apart(higher: Candidate, lower: Candidate) -> bool | None:
    """Whether the intervals of two means do not overlap; None where one has none."""
    if higher.half is None or lower.half is None:
        return None
    return higher.mean - higher.half > lower.mean + lower.half


def _has_select(result: Result) -> bool:
    part = result.parts.get("select")
    return part is not None and part.n > 0 and part.value is not None and result.primary.max > 0


def _replaced_by(run: Run, name: str) -> str:
    """The stage whose weights a name means; after a rollback, the stage that replaces it."""
    seen = {name}
    while (stage := run.stage(name)) and (to := stage.facts.get("rolled_back_to")):
        name = str(to)
        if name in seen:
            break
        seen.add(name)
    return name
