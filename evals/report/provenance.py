"""What has to hold before figures mean anything: settings side by side, and one line an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evals.report import figures
from evals.report.gate import unjudged
from evals.report.leaderboard import Row, may_differ
from evals.report.run import Run

WORDS = {
    "prompt_hash": "hash of every prompt",
    "data_fingerprint": "hash of questions, references and images",
    "data_path": "where the data lay; may differ",
    "max_new_tokens": "limit on an answer's length",
    "max_pixels": "limit on an image's size; – is the model's own",
    "backend": "inference engine",
    "dtype": "number format",
    "chat_template": "hash of the chat template",
    "temperature": "0 takes the likeliest token",
    "seed": "of sampling; free where temperature is 0",
    "n": "answers a question",
    "files": "hash of processor and tokenizer",
    "images": "whether images were shown",
    "version": "of the benchmark's rule",
    "profile": "whose rule scored",
    "weights": "fingerprint; differs by stage",
}


@dataclass(frozen=True)
class Setting:
    """One setting over all stages; `unequal` marks one that must not differ."""

    name: str
    values: list[str]
    unequal: bool

    @property
    def words(self) -> str:
        """What it is; empty where its name says so."""
        return WORDS.get(self.name, "")


@dataclass(frozen=True)
class Table:
    """One benchmark's settings, a column a stage."""

    benchmark: str
    stages: list[str]
    settings: list[Setting]

    @property
    def unequal(self) -> list[Setting]:
        return [setting for setting in self.settings if setting.unequal]


@dataclass(frozen=True)
class Check:
    """One thing that has to hold before the figures mean anything. `mood`: good, bad or open;
    `link` and `more`: the section that shows it, and what it shows.
    """

    question: str
    mood: str
    answer: str
    link: str = ""
    more: str = ""


def table(run: Run, benchmark: str) -> Table:
    """The settings of every stage's evaluation on one benchmark, side by side."""
    stages = [stage for stage in run.scored if benchmark in stage.results]
    results = [stage.results[benchmark] for stage in stages]
    keys = list(dict.fromkeys(key for result in results for key in result.settings))
    free = may_differ([result.settings for result in results])
    found = [_setting(k, [result.settings.get(k) for result in results], free) for k in keys]
    found += [_setting(key, [getattr(r, key) for r in results]) for key in ("version", "profile")]
    if any(result.judge for result in results):
        found.append(_setting("judge", [result.judge for result in results]))
    weights = [result.weights or None for result in results]
    found.append(_setting("weights", weights, frozenset({"weights"})))
    return Table(benchmark, [stage.name for stage in stages], found)


def checks(run: Run, rows: list[Row], tables: list[Table]) -> list[Check]:
    """The lines under the title: comparability, overlap with training data, selection, errors, and
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
        f"{figures.count(failed)} of {answers}; they stand outside every mean",
    )


def _gate(run: Run) -> list[Check]:
    """Whether the gate held everywhere; no line where nothing was compared."""
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
    told = [
        words
        for words in (
            f"failed: {drop} is shown for {_listed(where.get('fail', []))}",
            f"warning: {drop} is neither ruled out nor shown for {_listed(where.get('warn', []))}",
        )
        if not words.endswith(" for ")
    ]
    told += [f"not judged: {'; '.join(gaps[:2])}" + " and more" * (len(gaps) > 2)] if gaps else []
    if told:
        mood = "bad" if "fail" in where else "open"
        return [Check(question, mood, f"Not everywhere, {'; '.join(told)}", **link)]
    return [Check(question, "good", f"Yes: {drop} is ruled out for every stage", **link)]


def _listed(names: list[str]) -> str:
    """At most six names; how many more there are."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def _setting(key: str, values: list[Any], free: frozenset[str] = frozenset()) -> Setting:
    written = [figures.NONE if value is None else str(value) for value in values]
    return Setting(key, written, unequal=len(set(written)) > 1 and key not in free)
