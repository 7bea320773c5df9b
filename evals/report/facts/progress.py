"""Reward against benchmark: the objective of training beside the scores over the same steps."""

from __future__ import annotations

from dataclasses import dataclass

from evals.report.display import charts
from evals.report.display.figures import compact, number
from evals.report.facts.rows import adjusted, adjusted_verdict
from evals.report.records import Interval, Part, PartName, Result
from evals.report.run import Run, Stage

# The first of these metrics that a stage logs is taken as the objective of its training.
OBJECTIVES = {
    "reward": "the mean reward",
    "rewards/margins": "the margin between chosen and rejected answers",
    "rewards/accuracies": "the share of pairs ranked rightly",
}


@dataclass(frozen=True)
class Point:
    """A benchmark's share of its maximum at one step, on one part."""

    step: int
    share: float
    interval: Interval | None


@dataclass(frozen=True)
class Line:
    """One benchmark's points during a stage, drawn over the same steps as the objective. `verdict`
    compares the stage with its parent on this part.
    """

    benchmark: str
    part: PartName
    verdict: str
    points: list[Point]
    drawn: charts.Dots


@dataclass(frozen=True)
class Progress:
    """A stage's objective and the benchmarks beside it, with one sentence."""

    stage: Stage
    objective: str
    words: str
    curve: charts.Curve
    lines: list[Line]
    sentence: str
    mood: str


def progress(run: Run) -> list[Progress]:
    """Every stage that logs an objective and has a score before and after."""
    return [found for stage in run.stages if (found := _of(run, stage)) is not None]


def _of(run: Run, stage: Stage) -> Progress | None:
    found = _objective(stage)
    if found is None:
        return None
    key, words, values = found
    last = max([stage.steps, *(int(step) for step, _ in values)], default=0)
    curve = charts.curve(values, across=(0.0, float(last)))
    if curve is None:
        return None
    lines = [line for name in run.benchmarks if (line := _line(run, stage, name, last))]
    if not lines:
        return None
    sentence, mood = _sentence(words, curve.begin, curve.end, lines)
    return Progress(stage, key, words, curve, lines, sentence, mood)


def _line(run: Run, stage: Stage, benchmark: str, last: int) -> Line | None:
    """Points of one part only: `select` where checkpoints inside the stage were scored (they are
    scored on no other part), else the part that is shown, with begin and end.
    """
    inside = {
        step: found[benchmark] for step, found in stage.checkpoints.items() if benchmark in found
    }
    parent = run.stage(stage.parent)
    ends = {
        0: parent.results.get(benchmark) if parent else None,
        last: stage.results.get(benchmark),
    }
    shown: PartName = next((r.shown for r in ends.values() if r), "report")
    part: PartName = "select" if inside else shown
    found = {**ends, **inside} if inside else ends
    points = [
        point
        for step, result in sorted(found.items())
        if result is not None
        and (point := _point(step, result, result.parts.get(part))) is not None
    ]
    if len(points) < 2:
        return None
    drawn = charts.dots([(p.step, p.share, p.interval) for p in points], across=(0.0, float(last)))
    return Line(benchmark, part, _verdict(stage, benchmark, part), points, drawn)


def _point(step: int, result: Result, part: Part | None) -> Point | None:
    most = result.most(part)
    if part is None or part.value is None or not most:
        return None
    interval = part.interval
    scaled = None if interval is None else (interval[0] / most, interval[1] / most)
    return Point(step, part.value / most, scaled)


def _sentence(objective: str, begin: float, end: float, lines: list[Line]) -> tuple[str, str]:
    """How the objective moved, and each benchmark's verdict. A rising objective beside a benchmark
    that became worse is pointed out. Begin and end are those of the running mean that is drawn.
    """
    first, last = compact(begin), compact(end)
    went = "rose" if end > begin else "fell"
    moved = f"{went} from {first} to {last}" if first != last else f"stayed at {last}"
    text = f"{objective} {moved}"
    for line in lines:
        before, after = (number(100 * line.points[at].share, 1) for at in (0, -1))
        text += f"; {line.benchmark} {line.verdict}, {before} → {after}\u202f% of its maximum"
    fell = [line.benchmark for line in lines if line.verdict == "worse"]
    if end > begin and fell:
        names = " and ".join(fell)
        text += f": the objective rose while {names} became worse; check for reward hacking"
        return text, "worse"
    if any(line.verdict == "worse" for line in lines):
        return text, "worse"
    is_better = any(line.verdict == "better" for line in lines)
    return text, "better" if is_better else "plain"


def _verdict(stage: Stage, benchmark: str, part: PartName) -> str:
    """The verdict against the parent that cards and tables show too: the paired test on this part,
    adjusted over the stage's benchmarks.
    """
    against = stage.results[benchmark].against("parent") if benchmark in stage.results else None
    found = against.part(part) if against else None
    if found is None:
        return "not compared"
    return adjusted_verdict(found.verdict, adjusted(stage, "parent", part).get(benchmark))


def _objective(stage: Stage) -> tuple[str, str, list[tuple[float, float]]] | None:
    """The objective of training: its key, its name in words, and (step, value)s. Where a stage logs
    the rewards of chosen and rejected answers and no margin, the margin is their difference.
    """
    rows = [row for row in stage.metrics if isinstance(row.get("step"), int | float)]
    for key, words in OBJECTIVES.items():
        values = [
            (float(row["step"]), float(row[key]))
            for row in rows
            if isinstance(row.get(key), int | float)
        ]
        if values:
            return key, words, values
    both = ("rewards/chosen", "rewards/rejected")
    values = [
        (float(row["step"]), float(row[both[0]]) - float(row[both[1]]))
        for row in rows
        if all(isinstance(row.get(key), int | float) for key in both)
    ]
    return ("rewards/margins", OBJECTIVES["rewards/margins"], values) if values else None
