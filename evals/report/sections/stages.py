"""What each stage did: the graph, then for each stage its verdict, skills, parts and cost
in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.report.answers import habits, moves, quoted, skills
from evals.report.answers.kept import Summaries, skills_of, split_of, turned_of
from evals.report.answers.quoted import Quote
from evals.report.display import figures, graph
from evals.report.facts import Facts
from evals.report.facts.choices import Choice, choice
from evals.report.facts.progress import Progress
from evals.report.facts.rows import Row
from evals.report.facts.sentences import Clause, Sentence, verdicts
from evals.report.facts.spent import Spent
from evals.report.page.section import Section
from evals.report.run import Run, Stage

CARD_BENCHMARKS = 6  # scores on a stage's card


def section(facts: Facts) -> Section | None:
    """The graph of the stages, then each of them in words."""
    run = facts.run
    costs = {item.stage.name: item for item in facts.cost.stages}
    shown = max(len(run.benchmarks[:CARD_BENCHMARKS]), 1)
    drawn = graph.strip(run, card_height=66 + 20 * shown)
    values = {
        "run": run,
        "strip": drawn,
        "costs": costs,
        "benchmarks": facts.benchmarks,
        "words": overview(run, facts.rows, facts.summaries, costs, facts.progress),
    }
    return Section("stages", "Stages", 10, values, template="stages.html.j2", style=drawn.style)


@dataclass(frozen=True)
class Words:
    """What is written about a stage. Pairs are (benchmark, sentence)."""

    stage: Stage
    clauses: tuple[Clause, ...]
    choice: Choice | None
    skills: list[tuple[str, list[str]]]
    why: list[tuple[str, str]]
    quotes: list[tuple[str, list[Quote]]]
    heldout: str
    reward: Progress | None
    cost: str


def overview(
    run: Run,
    rows: list[Row],
    summaries: Summaries,
    costs: Mapping[str, Spent],
    rewards: list[Progress],
) -> list[Words]:
    """Every stage of the run in words."""
    by_stage = {sentence.stage: sentence for sentence in verdicts(run, rows)}
    beside = {item.stage.name: item for item in rewards}
    return [
        Words(
            stage=stage,
            clauses=by_stage.get(stage.name, Sentence(stage.name, ())).clauses,
            choice=choice(run, stage),
            skills=_skills(run, stage, summaries),
            why=_why(run, stage, summaries),
            quotes=_quotes(run, stage, summaries),
            heldout=_heldout(stage),
            reward=beside.get(stage.name),
            cost=cost(costs[stage.name]),
        )
        for stage in run.stages
    ]


def _skills(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, list[str]]]:
    out = []
    for benchmark in run.benchmarks:
        if found := skills_of(run, stage, benchmark, summaries):
            changes = turned_of(summaries, benchmark, stage.name, stage.parent)
            out.append((benchmark, skills.in_words(found, changes)))
    return out


def _heldout(stage: Stage) -> str:
    """How a stage ranks the pairs that were held out from its training; empty where none were."""
    heldout = stage.facts.get("heldout")
    right = heldout.get("implicit_reward_accuracy") if isinstance(heldout, dict) else None
    if not isinstance(right, int | float) or not heldout:
        return ""
    n = figures.count(heldout.get("pairs"))
    return (
        f"preference accuracy {figures.share(right)}: of {n} pairs that no step trained on, the "
        "share whose chosen answer has the higher implicit reward"
    )


def _quotes(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, list[Quote]]]:
    """By benchmark, a few answers that changed against the parent."""
    key = f"{stage.name}\n{stage.parent}"
    found = [
        (name, quoted.from_lists(summaries.get(name, {}).get("quotes", {}).get(key)))
        for name in run.benchmarks
    ]
    return [(name, quotes) for name, quotes in found if quotes]


def _why(run: Run, stage: Stage, summaries: Summaries) -> list[tuple[str, str]]:
    out = []
    for benchmark in run.benchmarks:
        result = stage.results.get(benchmark)
        parts = split_of(summaries, benchmark, stage.name, stage.parent)
        if result is not None and parts is not None:
            sentence = moves.in_words(parts, result.part.majority_baseline)
            kept = summaries.get(benchmark, {}).get("habits", {})
            before, after = kept.get(stage.parent), kept.get(stage.name)
            changed = habits.in_words(before, after) if before and after else ""
            out.append((benchmark, f"{sentence}; {changed}" if changed else sentence))
    return out


def cost(item: Spent) -> str:
    """Time over all parts, steps, answers and tokens of one stage, its evaluation included."""
    stage, parts = item.stage, []
    asked = sum(result.cost.seconds or 0.0 for result in stage.results.values())
    if item.seconds is not None:
        parts.append(_time(item))
    if stage.kind == "train" and stage.steps:
        parts.append(f"{figures.count(stage.steps)} steps{_redone(item)}")
    if item.sampled:
        of = f" for {figures.count(item.prompts)} prompts" if item.prompts else ""
        parts.append(f"{figures.count(item.sampled)} answers sampled{of}")
    if item.pairs is not None:
        more = f" and {figures.count(item.heldout)} held out" if item.heldout else ""
        parts.append(f"{figures.count(item.pairs)} pairs kept{more}")
    if item.forward:
        parts.append(f"{figures.count(item.forward)} tokens through the learner")
    if item.generated:
        parts.append(f"{figures.count(item.generated)} tokens sampled")
    if item.questions:
        parts.append(
            f"{figures.count(item.questions)} questions (report and select part) answered in "
            f"{figures.duration(asked)}"
        )
    return ", ".join(parts)


def _time(item: Spent) -> str:
    text = ("at least " if item.is_at_least else "") + figures.duration(item.seconds)
    if len(item.parts) > 1:
        times = " + ".join(figures.duration(part.seconds) for part in item.parts)
        text += f" in {len(item.parts)} parts ({times})"
    return text


def _redone(item: Spent) -> str:
    if not item.redone.steps:
        return ""
    steps, seconds = item.redone.steps, item.redone.seconds
    return f" and {figures.count(steps)} done twice ({figures.duration(seconds)})"
