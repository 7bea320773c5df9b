"""`best(a, b)`: which of several stages has the highest score on the `select` parts.

A recipe may continue from the better of two stages: `from: best(dpo, kto)`. Benchmarks have
different scales (MME's total reaches 2,800, an accuracy 1), so a stage's score is the mean over its
benchmarks of value / maximum. Only `select` questions are read. The report shows the `report`
questions, which no decision has seen, so the choice of a stage does not inflate its figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rl.errors import EvalError


class Best(NamedTuple):
    """The chosen stage, and in one line the scores that chose it."""

    stage: str
    why: str


def best(stages: Mapping[str, Path | Mapping[str, Mapping[str, Any]]]) -> Best:
    """The stage with the highest `select_score`; of equal ones the first.

    `stages` maps a stage to its folder `evals/<stage>`, or to benchmark -> contents of result.json.
    Raises: EvalError where the stages were not scored on the same benchmarks.

    (300/400 + 0.5/1) / 2 = 0.625 for dpo, (200/400 + 0.9/1) / 2 = 0.7 for kto:

    >>> def results(mme, pope):
    ...     return {
    ...         "mme": {"primary": {"max": 400}, "parts": {"select": {"n": 9, "value": mme}}},
    ...         "pope": {"primary": {"max": 1}, "parts": {"select": {"n": 9, "value": pope}}},
    ...     }
    >>> best({"dpo": results(300, 0.5), "kto": results(200, 0.9)})
    Best(stage='kto', why='mean share of the maximum on the select parts: dpo 0.6250, kto 0.7000')
    """
    if not stages:
        raise EvalError(
            "no stages to choose from",
            where="best()",
            expected="one evaluated stage or more",
            do="name stages in from: best(...)",
        )
    results = {
        name: _read_results(source) if isinstance(source, Path) else source
        for name, source in stages.items()
    }
    benchmarks = {name: sorted(by_benchmark) for name, by_benchmark in results.items()}
    first = next(iter(benchmarks))
    for name, scored_on in benchmarks.items():
        if not scored_on or scored_on != benchmarks[first]:
            raise EvalError(
                f"{name} was scored on {scored_on or 'nothing'}",
                where="best()",
                expected=f"the benchmarks of {first}: {benchmarks[first]}",
                do="evaluate every stage that best() names on the same benchmarks",
            )
    scores = {name: select_score(by_benchmark) for name, by_benchmark in results.items()}
    chosen = max(scores, key=scores.__getitem__)  # max() keeps the first of equals
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    return Best(chosen, f"mean share of the maximum on the select parts: {listed}")


def select_score(results: Mapping[str, Mapping[str, Any]]) -> float:
    """The mean over benchmarks of value / maximum on the `select` part; `results` maps a benchmark
    to the contents of its result.json. Raises: EvalError where a benchmark has no such score.
    """
    shares = []
    for benchmark, result in results.items():
        part = result["parts"].get("select")
        if part is None or not part["n"] or part["value"] is None:
            raise EvalError(
                "no score on the select part" if part and part["n"] else "no select part",
                where=f"{benchmark} of stage {result.get('stage', '?')}",
                expected="questions in both parts: decisions read select only",
                do="raise evals.benchmarks[].limit, or give a select file beside the report one",
            )
        # A count's maximum (OCRBench) is its part's number of questions, not the whole set's.
        shares.append(part["value"] / part.get("max", result["primary"]["max"]))
    return math.fsum(shares) / len(shares)


def _read_results(folder: Path) -> dict[str, Mapping[str, Any]]:
    return {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*/result.json"))
    }
