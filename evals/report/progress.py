"""Reward against benchmark: whether what training maximises and what is measured rise together."""

from __future__ import annotations

from dataclasses import dataclass

from evals.report import charts
from evals.report.figures import compact, number
from evals.report.records import Interval, Part, Result
from evals.report.run import Run, Stage

# The first of these that a stage logs is what its training tries to raise.
OBJECTIVES = ("reward", "rewards/margins", "rewards/accuracies")
_ENDS = 0.1  # share of the steps at either end that stand for begin and end


@dataclass(frozen=True)
class Point:
    """A benchmark's share of its maximum at one step, on one part."""

    step: int
    share: float
    interval: Interval | None


@dataclass(frozen=True)
class Line:
    """One benchmark's points during a stage, drawn over the same steps as the objective."""

    benchmark: str
    part: str
    points: list[Point]
    drawn: charts.Dots


@dataclass(frozen=True)
class Progress:
    """A stage's objective and the benchmarks beside it, with one sentence."""

    stage: Stage
    objective: str
    curve: charts.Curve
    lines: list[Line]
    sentence: str
    mood: str


def progress(run: Run) -> list[Progress]:
    """Every stage that logs an objective and has a score before and after."""
    return [found for stage in run.stages if (found := _of(run, stage)) is not None]


def _of(run: Run, stage: Stage) -> Progress | None:
    objective = next((k for k in OBJECTIVES if any(k in row for row in stage.metrics)), None)
    if objective is None:
        return None
    values = [
        (float(row["step"]), float(row[objective]))
        for row in stage.metrics
        if isinstance(row.get(objective), int | float) and isinstance(row.get("step"), int | float)
    ]
    last = max([stage.steps, *(int(step) for step, _ in values)], default=0)
    curve = charts.curve(values, across=(0.0, float(last)))
    if curve is None:
        return None
    lines = [line for name in run.benchmarks if (line := _line(run, stage, name, last))]
    if not lines:
        return None
    size = max(1, int(len(values) * _ENDS))
    begin = sum(value for _, value in values[:size]) / size
    end = sum(value for _, value in values[-size:]) / size
    sentence, mood = _sentence(objective, begin, end, lines)
    return Progress(stage, objective, curve, lines, sentence, mood)


def _line(run: Run, stage: Stage, benchmark: str, last: int) -> Line | None:
    """Points of one part only: `select` where checkpoints inside the stage were scored (they read
    nothing else), the shown part where only begin and end are there.
    """
    inside = {
        step: found[benchmark] for step, found in stage.checkpoints.items() if benchmark in found
    }
    parent = run.stage(stage.parent)
    ends = {
        0: parent.results.get(benchmark) if parent else None,
        last: stage.results.get(benchmark),
    }
    part = "select" if inside else next((r.shown for r in ends.values() if r), "report")
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
    return Line(benchmark, part, points, drawn)


def _point(step: int, result: Result, part: Part | None) -> Point | None:
    most = result.most(part)
    if part is None or part.value is None or not most:
        return None
    interval = part.interval
    scaled = None if interval is None else (interval[0] / most, interval[1] / most)
    return Point(step, part.value / most, scaled)


def _sentence(objective: str, begin: float, end: float, lines: list[Line]) -> tuple[str, str]:
    """What rose, what fell; a rising objective over a falling benchmark is named. Only intervals
    that do not meet count as a rise or a fall.
    """
    moves = [
        f"{line.benchmark} from {number(100 * line.points[0].share, 1)} to "
        f"{number(100 * line.points[-1].share, 1)}\u202f% of its maximum"
        for line in lines
    ]
    text = f"{objective} went from {compact(begin)} to {compact(end)}, {', '.join(moves)}"
    fell = [line.benchmark for line in lines if _is_apart(line.points[-1], line.points[0])]
    rose = [line.benchmark for line in lines if _is_apart(line.points[0], line.points[-1])]
    if end > begin and fell:
        names = " and ".join(fell)
        return f"{text}: the objective rose while {names} fell; look for reward hacking", "worse"
    if end > begin and rose:
        return f"{text}: {' and '.join(rose)} rose with it", "better"
    return f"{text}: no benchmark moved beyond its interval", "plain"


def _is_apart(lower: Point, upper: Point) -> bool:
    """Whether the second point's interval lies wholly above the first one's."""
    if lower.interval is None or upper.interval is None:
        return False
    return lower.interval[1] < upper.interval[0]
