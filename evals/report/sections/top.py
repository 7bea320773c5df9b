"""The top of the page: the run's conclusion, all scores at a glance, and the checks on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evals.report.display import figures
from evals.report.facts import Facts
from evals.report.facts.choices import choice
from evals.report.facts.gate import unjudged
from evals.report.facts.rows import Row
from evals.report.facts.settings import Table
from evals.report.page.section import Section
from evals.report.run import Run


def section(facts: Facts) -> Section | None:
    """It has no title, so it is laid out above the navigation."""
    run = facts.run
    chosen = [(stage.name, found) for stage in run.stages if (found := choice(run, stage))]
    values = {
        "run": run,
        "conclusion": facts.conclusion,
        "about": facts.about,
        "benchmarks": facts.benchmarks,
        "surprises": [(name, found.surprise) for name, found in chosen if found.surprise],
        "seed": run.seed,
        "checks": checks(run, facts.rows, facts.settings),
    }
    return Section("top", "", 0, values, template="top.html.j2")


@dataclass(frozen=True)
class Check:
    """One condition for the figures to be meaningful, as question and answer. `mood` is good, bad
    or open; `link` is the section that shows it and `more` the text of that link.
    """

    question: str
    mood: str
    answer: str
    link: str = ""
    more: str = ""


def checks(run: Run, rows: list[Row], tables: list[Table]) -> list[Check]:
    """The list under the scores: comparability, overlap with training data, selection, errors, and
    the gate.
    """
    if not rows:
        return []
    settings = {"link": "#provenance", "more": "all settings side by side"}
    overlap = {"link": f"#training-rows-{_first_marked(run, rows)}", "more": "stage by stage"}
    found = [
        replace(_comparable(rows, tables), **settings),
        replace(_overlap(rows), **overlap),
        _selected(rows),
        _errors(rows),
        *_engine(rows),
    ]
    return [*found, *_gate(run)]


def _first_marked(run: Run, rows: list[Row]) -> int:
    """The number, on the page, of the first benchmark that holds training rows; else of the first
    that was not checked, else 1.
    """
    shown = [name for name in run.benchmarks if any(row.benchmark == name for row in rows)]
    for harmless in (("clean", "unchecked"), ("clean",)):
        marked = {row.benchmark for row in rows if row.contamination not in harmless}
        if marked:
            return 1 + min(shown.index(name) for name in marked)
    return 1


def _comparable(rows: list[Row], tables: list[Table]) -> Check:
    question = "May the columns be compared?"
    unlike = [
        f"{table.benchmark}: {', '.join(setting.name for setting in table.unequal)}"
        for table in tables
        if table.unequal
    ]
    if unlike:
        return Check(question, "bad", f"No: unequal settings ({'; '.join(unlike)})")
    refused = sorted(
        {row.benchmark for row in rows for a in (row.parent, row.base) if a and a.refused}
    )
    if refused:
        return Check(question, "bad", f"Not everywhere: refused on {', '.join(refused)}")
    return Check(
        question,
        "good",
        "Yes: questions, prompt, limits, engine and scoring rule are the same",
    )


def _overlap(rows: list[Row]) -> Check:
    question = "Are training rows in the benchmarks?"
    found = sorted({(r.benchmark, r.contamination) for r in rows})
    marked = [f"{name}: {state}" for name, state in found if state not in ("clean", "unchecked")]
    if marked:
        return Check(question, "bad", f"Yes, {'; '.join(marked)}")
    open_ = sorted({name for name, state in found if state == "unchecked"})
    if open_:
        return Check(question, "open", f"Not checked on {', '.join(open_)}")
    return Check(question, "good", "None found, by their words and by pictures that look the same")


def _selected(rows: list[Row]) -> Check:
    question = "Did a decision read these questions?"
    chosen = sorted({row.benchmark for row in rows if row.part == "select"})
    if chosen:
        return Check(question, "bad", f"Yes, selected on: {', '.join(chosen)}")
    return Check(
        question, "good", "No: gates and choices of a parent read other questions and images"
    )


def _errors(rows: list[Row]) -> Check:
    question = "Did questions fail on our side?"
    failed, asked = sum(row.errors for row in rows), sum(row.n for row in rows)
    parts = " and ".join(sorted({row.part for row in rows}))
    answers = f"the {figures.count(asked)} answers on the {parts} part"
    if not failed:
        return Check(question, "good", f"None of {answers}")
    return Check(
        question,
        "open",
        f"{figures.count(failed)} of {answers}; they are left out of every mean",
    )


def _engine(rows: list[Row]) -> list[Check]:
    """A warning where the engine that answered was not compared with the model; else nothing."""
    unknown = sorted({row.stage for row in rows if not row.is_engine_compared})
    if not unknown:
        return []
    answer = f"Not checked for {', '.join(unknown)} (--no-parity)"
    return [Check("Does the engine compute what the model computes?", "open", answer)]


def _gate(run: Run) -> list[Check]:
    """Whether the gate held everywhere; empty where nothing was compared."""
    where: dict[str, list[str]] = {}
    judged = 0
    for stage in run.stages:
        for name, result in stage.results.items():
            gate = result.gate
            if gate is None or gate.verdict is None or not any(result.comparisons.values()):
                continue
            judged += 1
            where.setdefault(gate.verdict, []).append(f"{stage.name} on {name}")
    gaps = unjudged(run)
    if not judged and not gaps:
        return []
    allowed = sorted(
        {
            f"{result.gate.max_drop_percent:g} %"
            for stage in run.stages
            for result in stage.results.values()
            if result.gate and result.gate.max_drop_percent is not None
        }
    )
    drop = f"a loss beyond the allowed {' or '.join(allowed)} of the maximum"
    question, link = "Did the gate hold?", {"link": "gate.md", "more": "gate.md"}
    found = [
        words
        for words in (
            f"failed: {drop} is shown for {_listed(where.get('fail', []))}",
            f"warning: {drop} is neither ruled out nor shown for {_listed(where.get('warn', []))}",
        )
        if not words.endswith(" for ")
    ]
    found += [f"not judged: {'; '.join(gaps[:2])}" + " and more" * (len(gaps) > 2)] if gaps else []
    if found:
        mood = "bad" if "fail" in where else "open"
        return [Check(question, mood, f"Not everywhere, {'; '.join(found)}", **link)]
    return [Check(question, "good", f"Yes: {drop} is ruled out for every stage", **link)]


def _listed(names: list[str]) -> str:
    """At most six names; how many more there are."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
