"""One benchmark over all stages, as several sections show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.report.answers.groups import Share
from evals.report.answers.kept import Summaries, floors_of, shares_of, split_of, turned_of
from evals.report.answers.kinds import OTHER
from evals.report.answers.moves import Split
from evals.report.answers.skills import Floor
from evals.report.answers.turned import Turned, all_of
from evals.report.display import charts
from evals.report.facts.rows import Row
from evals.report.facts.stored import judge_of
from evals.report.records import Category, Comparison, Gate, Result
from evals.report.run import Run, Stage


@dataclass(frozen=True)
class BenchmarkFacts:
    """One benchmark: its rows by stage, and the axes that its drawings share."""

    name: str
    columns: list[tuple[Stage, Row | None, Result | None]]
    axis: charts.Axis
    categories: list[str]
    rule: str  # how the statistic is built, in one sentence
    splits: dict[str, Split]  # stage -> its difference from its parent
    turned: dict[str, dict[str, Turned]]  # stage -> category -> changed answers
    habits: dict[str, Mapping[str, Any]]  # stage -> its habits
    bars: dict[str, dict[str, Category]]  # stage -> category -> share right
    stated: dict[str, dict[str, Share]]  # the same, where content is not the score
    has_kinds: bool  # whether the categories are kinds of question
    floors: dict[str, Floor]  # category -> the accuracy of always giving one answer

    def has_habit(self, key: str) -> bool:
        """Whether any stage has this figure."""
        return any(habit.get(key) is not None for habit in self.habits.values())

    @property
    def is_open(self) -> bool:
        """Whether some answer is right in content and not by its rule."""
        return any(habit["content"] - habit["accuracy"] >= 5e-5 for habit in self.habits.values())

    def turned_of(self, stage: str, category: str | None = None) -> Turned | None:
        """A stage's changed answers against its parent; None where the answers were not kept."""
        found = self.turned.get(stage)
        if not found:
            return None
        return all_of(found) if category is None else found.get(category, Turned())

    def flip_of(self, stage: str, change: Comparison, category: str) -> Turned | None:
        """A category's changed answers: from the stored answers, else from result.json."""
        if stage in self.turned:
            return self.turned[stage].get(category)
        flip = change.flips_by_category.get(category)
        return Turned(became=flip.wrong_to_right, ceased=flip.right_to_wrong) if flip else None

    def largest_flip(self, stage: str, change: Comparison) -> int:
        """The largest number of questions that changed one way in a category."""
        found = [self.flip_of(stage, change, category) for category in self.categories]
        return max((max(one.won, one.lost) for one in found if one), default=1)

    @property
    def is_graded(self) -> bool:
        """Whether some score rose or fell without reaching or leaving 1."""
        return any(all_of(found).is_graded for found in self.turned.values())

    @property
    def pieces(self) -> dict[str, dict[str, Mapping[str, float]]]:
        """Category -> stage -> the parts whose sum is the statistic (as MME's acc and acc+); empty
        where it is no such sum.
        """
        found: dict[str, dict[str, Mapping[str, float]]] = {}
        for stage, _, result in self.columns:
            kept = result.part.metrics.get("categories") if result else None
            for category, piece in (kept if isinstance(kept, dict) else {}).items():
                if isinstance(piece, dict) and "acc_plus" in piece and "score" in piece:
                    found.setdefault(str(category), {})[stage.name] = piece
        return found

    def halves(self, stage: str) -> dict[str, float]:
        """A stage's difference from its parent in two parts, where the statistic is the sum of acc
        and acc+ over its categories: points of each.
        """
        parent = next((s.parent for s, _, _ in self.columns if s.name == stage), None)
        found: dict[str, float] = {}
        for by_stage in self.pieces.values():
            if stage not in by_stage or parent not in by_stage:
                return {}
            now, before = by_stage[stage], by_stage[parent]
            for key, name in (("acc", "acc"), ("acc_plus", "acc+")):
                found[name] = found.get(name, 0.0) + 100 * (now[key] - before[key])
        return found

    @property
    def gated(self) -> list[tuple[Row, Gate, Result]]:
        """Every stage that the gate compared with another."""
        return [
            (row, result.gate, result)
            for _, row, result in self.columns
            if row and result and result.comparisons and result.gate and result.gate.verdict
        ]

    @property
    def is_sampled(self) -> bool:
        """Whether a stage gave several answers to a question."""
        return any(result.part.sampling for _, _, result in self.columns if result)

    @property
    def first(self) -> Row | None:
        return next((row for _, row, _ in self.columns if row), None)

    @property
    def compared(self) -> list[tuple[Stage, Row, Comparison]]:
        """The stages that can be compared with their parent."""
        return [
            (stage, row, comparison)
            for stage, row, result in self.columns
            if row and row.parent and result and (comparison := result.comparison("parent"))
        ]

    @property
    def largest_move(self) -> float:
        """The axis of the split bars, in points of accuracy: at least 5, so that a small move does
        not look large where nothing else moved.
        """
        ends = [max(map(abs, split.parts.values())) for split in self.splits.values()]
        return charts.round_up(max(charts.scale_of(ends), 5.0))

    @property
    def has_larger_move(self) -> bool:
        """Whether a split bar ends in an arrow."""
        most = self.largest_move * 1.001
        return any(max(map(abs, split.parts.values())) > most for split in self.splits.values())

    def largest_change(self, against: str) -> float:
        """The axis of the differences with parent or base, zero in the middle."""
        return charts.round_up(
            charts.scale_of(
                [
                    max(abs(end) for end in (*other.interval, other.difference or 0.0))
                    for _, row, _ in self.columns
                    if row and (other := getattr(row, against)) and other.interval
                ]
            )
        )


def benchmark_facts(
    run: Run, rows: list[Row], benchmark: str, summaries: Summaries
) -> BenchmarkFacts:
    """What the sections show of one benchmark."""
    mine = {row.stage: row for row in rows if row.benchmark == benchmark}
    columns = [(s, mine.get(s.name), s.results.get(benchmark)) for s in run.scored]
    shown = list(mine.values())
    results = [result for _, _, result in columns if result]
    has_kinds = bool(summaries.get(benchmark, {}).get("has_kinds"))
    shares = {row.stage: shares_of(summaries, benchmark, row.stage) for row in shown}
    bars = {result.stage: result.part.categories for result in results}
    if has_kinds:
        bars = {
            stage: {c: one.as_category for c, one in mine.items()} for stage, mine in shares.items()
        }
    named = {name for found in bars.values() for name in found}
    categories = sorted(named, key=lambda name: (name == OTHER, name))
    baselines = [row.majority_value for row in shown if row.majority_value is not None]
    values = _values([(row.value, row.interval) for row in shown])
    top = max((row.max for row in shown), default=1.0)
    return BenchmarkFacts(
        name=benchmark,
        columns=columns,
        axis=charts.Axis.around(values + baselines, floor=0.0, top=top),
        categories=categories,
        rule=judge.primary_rule if (judge := judge_of(run, benchmark)) else "",
        turned={
            stage.name: found
            for stage, _, _ in columns
            if (found := turned_of(summaries, benchmark, stage.name, stage.parent))
        },
        splits={
            stage.name: parts
            for stage, _, _ in columns
            if (parts := split_of(summaries, benchmark, stage.name, stage.parent))
        },
        habits={
            stage: habit
            for stage, habit in summaries.get(benchmark, {}).get("habits", {}).items()
            if habit
        },
        bars=bars,
        stated={
            stage: {name: one for name, one in mine.items() if one.content - one.accuracy >= 5e-4}
            for stage, mine in shares.items()
        },
        has_kinds=has_kinds,
        floors=floors_of(summaries, benchmark),
    )


def _values(pairs: Sequence[tuple[float | None, tuple[float, float] | None]]) -> list[float]:
    out = [value for value, _ in pairs if value is not None]
    return out + [end for _, interval in pairs if interval for end in interval]
