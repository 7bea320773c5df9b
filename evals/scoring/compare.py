"""`plumbline compare`: models of any runs against one another, from their stored answers. No model
is started and nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evals.asking.responses import HEADER, RESPONSES, read_responses, require_needed
from evals.base import Benchmark
from evals.data.items import PartName
from evals.registry import get_benchmark
from evals.report.run import read_run
from evals.scoring.paired import ALPHA, Unequal, compare, pair, unequal_settings
from evals.scoring.results import require_valid
from evals.scoring.samples import Scored, score_rows
from evals.scoring.significance import holm
from rl.errors import ConfigError, DataError, EvalError, PlumblineError
from rl.plugins import did_you_mean

SCHEMA = 1
# Settings whose difference is listed beside a comparison, and is no reason to refuse it.
_NOTED = ("backend", "dtype", "chat_template")
State = Literal["compared", "forced", "refused", "empty"]


@dataclass(frozen=True)
class _Options:
    """How sides are compared: on which part, by which scoring rule (None: by that of both results),
    also where settings differ (`force`), and the bootstrap's seed.
    """

    part: PartName
    profile: str | None
    force: bool
    seed: int


@dataclass(frozen=True)
class Side:
    """One evaluated model: a stage of a run. `folders` maps a benchmark to the folder of its
    evaluation.

        sides = [open_side("runs/a:sft"), open_side("runs/b")]
        compare_sides(sides)["comparisons"][0]["benchmarks"]
    """

    run: Path
    stage: str
    folders: Mapping[str, Path]

    @property
    def label(self) -> str:
        """`run:stage`, as it is shown."""
        return f"{self.run.name}:{self.stage}"


def open_side(text: str) -> Side:
    """The model that `RUN` or `RUN:stage` names; without a stage, the last one that was evaluated.

    Raises: ConfigError naming the stages that the run has.
    """
    root, stage = Path(text), ""
    if not root.is_dir() and ":" in text:
        name, _, stage = text.rpartition(":")
        root = Path(name)
    if not (root / "evals").is_dir():
        raise ConfigError(
            "no evaluated run",
            where=str(root),
            expected="a folder with evals/",
            do="check the path",
        )
    known = {one.name: _folders(root / "evals" / one.name) for one in read_run(root).stages}
    evaluated = [name for name, folders in known.items() if folders]
    if not evaluated:
        raise ConfigError(
            "no stage has been evaluated",
            where=str(root),
            expected=f"evals/<stage>/<benchmark>/{HEADER}",
            do="evaluate a stage first",
        )
    stage = stage or evaluated[-1]
    if stage not in evaluated:
        raise ConfigError(
            f'no evaluated stage "{stage}"',
            where=str(root),
            expected=", ".join(evaluated),
            do="name one of these",
        )
    return Side(root.resolve(), stage, known[stage])


def _folders(stage: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(stage.glob(f"*/{HEADER}"))}


def compare_sides(
    sides: Sequence[Side],
    *,
    part: PartName = "report",
    profile: str | None = None,
    force: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Every other side against the first, benchmark by benchmark: what `plumbline compare --json`
    prints.

    Answers are scored again by `profile`; without one, by the rule that both results were scored
    by. The p-values of a comparison are adjusted by Holm over its benchmarks. A benchmark on which
    settings differ is refused unless `force`. Raises: ConfigError where there is nothing to
    compare.
    """
    if len(sides) < 2:
        raise ConfigError(
            "one model alone",
            where="plumbline compare",
            expected="two or more: RUN_A[:stage] RUN_B[:stage]",
            do="name another",
        )
    first = sides[0]
    options = _Options(part, profile, force, seed)
    comparisons = []
    used: set[str] = set()
    for side in sides[1:]:
        shared = [name for name in first.folders if name in side.folders]
        if not shared:
            raise ConfigError(
                f"{first.label} and {side.label} share no benchmark",
                where=side.label,
                expected=f"one of {', '.join(first.folders)}",
                do="evaluate both on one benchmark",
            )
        rows = [_row(name, side, first, options) for name in shared]
        _adjust(rows)
        used |= {row["profile"] for row in rows}
        comparisons.append(
            {
                **_named(side),
                "benchmarks": rows,
                "only_baseline": sorted(set(first.folders) - set(side.folders)),
                "only_this": sorted(set(side.folders) - set(first.folders)),
            }
        )
    if profile is not None and profile not in used:
        raise ConfigError(
            f"unknown profile {profile!r}{did_you_mean(profile, sorted(used))}",
            where="plumbline compare",
            expected="a rule that one of the benchmarks has",
            do="leave it out to take the rule that the runs were scored by",
        )
    return {
        "schema": SCHEMA,
        "part": part,
        "profile": profile,
        "baseline": _named(first),
        "comparisons": comparisons,
    }


def refusals(compared: Mapping[str, Any]) -> list[str]:
    """One line for each comparison that was refused, with the setting that differs."""
    return [
        f"{side['label']}, {row['benchmark']}: {unequal['text']}"
        for side in compared["comparisons"]
        for row in side["benchmarks"]
        if row["state"] == "refused"
        for unequal in row["unequal"][:1]
    ]


def _named(side: Side) -> dict[str, str]:
    return {"label": side.label, "run": str(side.run), "stage": side.stage}


def _row(name: str, ours: Side, theirs: Side, options: _Options) -> dict[str, Any]:
    """One benchmark: its `state`, what differs, and the comparison unless it is refused."""
    noted: list[str] = []
    mine, other = (_read(side.folders[name], noted.append) for side in (ours, theirs))
    benchmark = _benchmark(mine[0], other[0], ours, theirs)
    results = [_result(side.folders[name]) for side in (theirs, ours)]
    own = [_own_rule(result) for result in results]
    asked = options.profile
    profile = next((rule for rule in own if rule), "official")
    noted += _noted(mine[0], other[0])
    noted += [
        f"the engine of {side.label} was not compared with the model (--no-parity)"
        for side, result in zip((theirs, ours), results, strict=True)
        if isinstance(parity := result.get("parity"), dict) and parity.get("against") is None
    ]
    unequal = unequal_settings(mine, other, same_model=False)
    if asked in benchmark.profiles:
        profile = asked
    else:
        noted += [f"has no rule {asked}; scored by {profile}"] if asked else []
        if all(own) and own[0] != own[1]:
            unequal.append(Unequal("profile", own[0], own[1]))
    benchmark.require_profile(profile)
    benchmark = benchmark.for_profile(profile)
    row: dict[str, Any] = {
        "benchmark": name,
        "metric": benchmark.primary_name,
        "profile": profile,
        "weights": {"baseline": other[0]["weights"], "this": mine[0]["weights"]},
        "unequal": [{**item._asdict(), "text": str(item)} for item in unequal],
        "noted": noted,
        "state": "refused",
    }
    if unequal and not options.force:
        return row
    row["state"] = "forced" if unequal else "compared"
    scored = [
        _scored(benchmark, side, rows, options.part, profile)
        for side, (_, rows) in ((ours, mine), (theirs, other))
    ]
    return {**row, **_compared(benchmark, scored[0], scored[1], profile, options.seed)}


def _result(folder: Path) -> Mapping[str, Any]:
    """An evaluation's result.json; nothing where it is missing or broken."""
    try:
        result = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def _own_rule(result: Mapping[str, Any]) -> str | None:
    """The profile that an evaluation was scored by; None where its result does not say."""
    rule = result.get("profile")
    return rule if isinstance(rule, str) else None


def _read(folder: Path, note: Callable[[str], None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and rows of an evaluation; `note` gets what should be said with it."""
    header, rows = read_responses(folder, on_torn=note)
    if not rows:
        raise DataError(
            "has no answer",
            where=str(folder / RESPONSES),
            expected="a row for each question",
            do="evaluate the stage again",
        )
    lacking = [key for key in ("benchmark", "version", "weights") if key not in header]
    if not isinstance(header.get("settings"), dict) or lacking:
        raise DataError(
            f"does not say how it was asked (no {(lacking or ['settings'])[0]})",
            where=str(folder / HEADER),
            expected="benchmark, version, weights and settings",
            do="evaluate the stage again",
        )
    return header, rows


def _scored(
    benchmark: Benchmark,
    side: Side,
    rows: Sequence[Mapping[str, Any]],
    part: PartName,
    profile: str,
) -> Scored:
    """One side's answers of a part, scored. Raises: EvalError, DataError naming the side."""
    where = f"{side.label}, benchmark {benchmark.id}"
    require_needed(rows, where)
    kept = [row for row in rows if row["part"] == part]
    try:
        scored = score_rows(benchmark, kept, profile)
    except PlumblineError as error:
        raise error.at(where) from error
    require_valid(scored, where)
    return scored


def _compared(
    benchmark: Benchmark, ours: Scored, theirs: Scored, profile: str, seed: int
) -> dict[str, Any]:
    """The figures of one comparison; state `empty` where no shared question has two scores."""
    pairs = pair(ours, theirs)
    unpaired = {"only_this": pairs.only_ours, "only_baseline": pairs.only_theirs}
    comparison = compare(ours, theirs, benchmark, seed=seed) if pairs.ours.rows else None
    if comparison is None:
        return {"state": "empty", "unpaired": unpaired}
    values = [
        side.over(pairs.ours.rows).value(benchmark, profile) for side in (pairs.theirs, pairs.ours)
    ]
    return {
        **comparison,
        "max": benchmark.max_score(pairs.ours.rows),
        "values": {"baseline": values[0], "this": values[1]},
        "unpaired": unpaired,
    }


def _benchmark(
    mine: Mapping[str, Any], other: Mapping[str, Any], ours: Side, theirs: Side
) -> Benchmark:
    if mine["benchmark"] != other["benchmark"]:
        raise EvalError(
            f"{mine['benchmark']} and {other['benchmark']} are two benchmarks",
            where=f"{ours.label} and {theirs.label}",
            expected="the same benchmark under one name",
            do="compare runs of one benchmark under that name",
        )
    return get_benchmark(str(mine["benchmark"]))


def _noted(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    a, b = other["settings"], mine["settings"]
    return [f"{k} differs: {a.get(k)} and {b.get(k)}" for k in _NOTED if a.get(k) != b.get(k)]


def _adjust(rows: list[dict[str, Any]]) -> None:
    """Adds `p_holm`, and takes a verdict back that the adjusted p-value does not support."""
    adjusted = holm({row["benchmark"]: row["p_value"] for row in rows if "p_value" in row})
    for row in rows:
        if row["benchmark"] in adjusted:
            row["p_holm"] = adjusted[row["benchmark"]]
            if row["p_holm"] > ALPHA:
                row["verdict"] = "no evidence"
