"""What evaluations inside a stage decide: the best weights, an early end, a rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from evals.decisions.gate import GateConfig
from recipes.schema.train_stage import TrainStage
from rl.errors import GateError

FAILED = 2  # of the metric eval/gate


class StageEnded(Exception):
    """Leaves a training loop before its last step; never leaves `StageTrainer`."""


@dataclass(frozen=True)
class Ending:
    """Why a stage ends at `step`."""

    step: int
    kind: Literal["gate", "early_stop"]
    why: str


class Seen(NamedTuple):
    """One evaluation: `eval/select`, and the gate's worst verdict."""

    step: int
    score: float
    verdict: int


class Watch:
    """Collects a stage's evaluations, and says which step is the best and whether the stage ends.

        watch = Watch(stage, recipe.evals.gate)
        watch.note({"step": 20, "eval/select": 0.41, "eval/gate": 0})
        watch.note({"step": 40, "eval/select": 0.38, "eval/gate": 0})
        watch.best_step                          # 20

    All evaluations are in metrics.jsonl, so a resumed stage decides as an undisturbed one.
    """

    def __init__(self, stage: TrainStage, gate: GateConfig) -> None:
        self.stage, self.gate = stage, gate
        self.seen: list[Seen] = []

    def note(self, row: Mapping[str, Any]) -> None:
        """Takes one line of metrics; one without an evaluation is passed over."""
        if row.get("eval/select") is not None:
            found = Seen(int(row["step"]), float(row["eval/select"]), int(row.get("eval/gate", 0)))
            self.seen = [*(seen for seen in self.seen if seen.step != found.step), found]

    @property
    def best_step(self) -> int | None:
        """The step with the best score on the select parts, the first of equals. A step that failed
        the gate counts only if all steps failed.
        """
        good = [seen for seen in self.seen if seen.verdict < FAILED] or self.seen
        return max(good, key=lambda seen: (seen.score, -seen.step)).step if good else None

    @property
    def good_step(self) -> int | None:
        """The last step that did not fail the gate."""
        return next((seen.step for seen in self.seen[::-1] if seen.verdict < FAILED), None)

    @property
    def kept_step(self) -> int | None:
        """The step whose checkpoint must outlive newer ones."""
        if self.stage.keep_best:
            return self.best_step
        return self.good_step if self.gate.on_fail == "rollback" else None

    @property
    def has_failed(self) -> bool:
        """Whether the last evaluation failed the gate."""
        return bool(self.seen) and self.seen[-1].verdict == FAILED

    @property
    def ending(self) -> Ending | None:
        """Why the stage is over, if it is."""
        if not self.seen:
            return None
        step = self.seen[-1].step
        if self.has_failed and self.gate.on_fail != "warn":
            return Ending(step, "gate", f"the gate failed at step {step}")
        if self.stage.early_stop is not None and self._waited >= self.stage.early_stop.patience:
            why = f"no improvement of the select parts in {self._waited} evaluations"
            return Ending(step, "early_stop", f"{why} up to step {step}")
        return None

    @property
    def _waited(self) -> int:
        """Evaluations since the last improvement."""
        assert self.stage.early_stop is not None
        best, waited = float("-inf"), 0
        for seen in self.seen:
            if seen.score > best + self.stage.early_stop.min_delta:
                best, waited = seen.score, 0
            else:
                waited += 1
        return waited

    def leave(self, why: str = "") -> None:
        """Leaves the loop where the stage is over. Raises: StageEnded; GateError where a failed
        gate stops the run.
        """
        ending = self.ending
        if ending is None:
            return
        if ending.kind == "gate" and self.gate.on_fail == "stop":
            raise GateError(
                f"{ending.why}{f': {why}' if why else ''}",
                where=f"stage {self.stage.name}",
                expected=f"no drop beyond {self.gate.max_drop_percent:g} % of the maximum",
                do="see report/gate.md, or set evals.gate.on_fail",
            )
        raise StageEnded(ending.why)
