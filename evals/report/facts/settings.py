"""The settings of every evaluation side by side: what has to be equal where figures are
compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.report.display import figures
from evals.report.facts.rows import may_differ
from evals.report.run import Run

WORDS = {
    "prompt_hash": "hash of every prompt",
    "data_fingerprint": "hash of questions, references and images",
    "data_path": "where the data was; may differ",
    "max_new_tokens": "limit on an answer's length",
    "max_pixels": "limit on an image's size; – is the model's own",
    "backend": "inference engine",
    "dtype": "number format",
    "chat_template": "hash of the chat template",
    "temperature": "0: greedy, the likeliest token",
    "seed": "of sampling; may differ where temperature is 0",
    "n": "answers per question",
    "files": "hash of processor and tokenizer",
    "images": "whether images were shown",
    "version": "of the benchmark's rule",
    "profile": "the program whose rule scored",
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
        """What the setting is; empty where its name says it."""
        return WORDS.get(self.name, "")


@dataclass(frozen=True)
class Table:
    """One benchmark's settings, with a column per stage."""

    benchmark: str
    stages: list[str]
    settings: list[Setting]

    @property
    def unequal(self) -> list[Setting]:
        return [setting for setting in self.settings if setting.unequal]


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


def _setting(key: str, values: list[Any], free: frozenset[str] = frozenset()) -> Setting:
    written = [figures.NONE if value is None else str(value) for value in values]
    return Setting(key, written, unequal=len(set(written)) > 1 and key not in free)
