"""What training logged: curves, the time of its phases, tokens."""

from __future__ import annotations

from dataclasses import dataclass

from evals.report.display import charts
from evals.report.facts.spent import metric_sum, samples
from evals.report.run import Stage
from rl.runs.metrics import describe

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
Drawn = tuple[str, str, charts.Curve]  # key, what it is, curve


@dataclass(frozen=True)
class Training:
    """One stage's curves and where its time went."""

    stage: Stage
    first: list[Drawn]
    rest: list[Drawn]
    times: list[tuple[str, int, float]]
    step_seconds: float | None
    samples: float | None
    forward: float | None

    @property
    def colours_and_times(self) -> list[tuple[int, float]]:
        return [(colour, seconds) for _, colour, seconds in self.times]


def training(stage: Stage, seconds: float | None) -> Training | None:
    """What one stage logged, `seconds` being its time in all; None where it logged nothing."""
    if not stage.metrics:
        return None
    keys = {key for row in stage.metrics for key in row} - set(NO_CURVE)
    chosen = [key for key in FIRST_CURVES if key in keys]
    chosen += sorted(k for k in keys if k.startswith("reward/") and k.endswith("/mean"))
    rest = sorted(key for key in keys if key not in chosen)
    step_s = metric_sum(stage, "time/step_s")
    spent = {
        key.removeprefix("time/").removesuffix("_s"): took
        for key in sorted(keys)
        if key.startswith("time/") and key != "time/step_s" and (took := metric_sum(stage, key))
    }
    whole = seconds or step_s or 0.0
    left = whole - sum(spent.values())
    if spent and left > 0.01 * whole:
        spent["rest"] = left
    colours = {name: PHASES.index(name) if name in PHASES else len(PHASES) for name in spent}
    return Training(
        stage=stage,
        first=_curves(stage, chosen),
        rest=_curves(stage, rest),
        times=sorted(
            ((name, colours[name], seconds) for name, seconds in spent.items()),
            key=lambda entry: entry[1],
        ),
        step_seconds=step_s,
        samples=samples(stage),
        forward=metric_sum(stage, "tokens/forward"),
    )


def _curves(stage: Stage, keys: list[str]) -> list[Drawn]:
    out, own = [], stage.facts.get("own_metrics") or {}
    for key in keys:
        points = [
            (float(row.get("step", index + 1)), float(row[key]))
            for index, row in enumerate(stage.metrics)
            if isinstance(row.get(key), int | float)
        ]
        if drawn := charts.curve(points):
            out.append((key, describe(key, own) or "", drawn))
    return out
