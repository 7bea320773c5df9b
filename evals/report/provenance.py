"""May two columns be compared? Settings side by side, and one line that answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evals.report import figures
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
    """The lines under the title: comparability, overlap with training data, selection, errors."""
    if not rows:
        return []
    settings = {"link": "#provenance", "more": "all settings side by side"}
    overlap = {"link": f"#training-rows-{_first_marked(run, rows)}", "more": "stage by stage"}
    return [
        replace(_comparable(rows, tables), **settings),
        replace(_overlap(rows), **overlap),
        _selected(rows),
        _errors(rows),
    ]


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
    return Check(question, "good", "None found")


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
    if not failed:
        return Check(question, "good", f"None of {figures.count(asked)} answers")
    return Check(
        question,
        "open",
        f"{figures.count(failed)} of {figures.count(asked)}; they stand outside every mean",
    )


def _setting(key: str, values: list[Any], free: frozenset[str] = frozenset()) -> Setting:
    written = [figures.NONE if value is None else str(value) for value in values]
    return Setting(key, written, unequal=len(set(written)) > 1 and key not in free)
