"""Plumbline on the work, as a user runs it: python -m tests.benchmarks.peers.run_plumbline
WORK.json OUT.json

It writes a recipe and runs it by the command `plumbline run` in this process. What the recipe does
not say is Plumbline's default: the dashboard, TensorBoard and the parity gate are on.

The functions that write a step's metrics and that compute log-probs are watched, and nothing in
them is changed. The first is called once after each step, and so gives the time of a step with
everything in it. By the second, references are computed before the first step.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from recipes.cli.main import main as plumbline
from rl.learners.group import LearnerGroup
from rl.runs.metrics import JsonlSink, read_metrics
from tests.benchmarks.peers.recorder import read_work, write_result

STAGE = "stage"


class Watch:
    """When each step ended, and the seconds of references: of `logprobs` between the beginning of
    the stage and its first step. What the parity gate computes at the start is before the stage.

    A step reports its own seconds, by which the first step's beginning is known.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.logprobs_s = 0.0

    def install(self) -> None:
        """Wraps the functions that are watched."""
        JsonlSink.write = self._noting_step(JsonlSink.write)  # type: ignore[method-assign]
        LearnerGroup.logprobs = self._timed(LearnerGroup.logprobs)  # type: ignore[method-assign]
        LearnerGroup.begin_stage = self._resetting(  # type: ignore[method-assign]
            LearnerGroup.begin_stage
        )

    def _noting_step(self, write: Callable[..., None]) -> Callable[..., None]:
        def noting(sink: JsonlSink, step: int, metrics: Any) -> None:
            now = time.perf_counter()
            if not self.ends:
                self.ends.append(now - metrics["time/step_s"])
            self.ends.append(now)
            write(sink, step, metrics)

        return noting

    def _timed(self, logprobs: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            found = logprobs(*args, **kwargs)
            if not self.ends:
                self.logprobs_s += time.perf_counter() - started
            return found

        return timed

    def _resetting(self, begin_stage: Callable[..., None]) -> Callable[..., None]:
        def resetting(*args: Any, **kwargs: Any) -> None:
            begin_stage(*args, **kwargs)
            self.logprobs_s = 0.0

        return resetting


def recipe(work: SimpleNamespace, root: str) -> dict[str, Any]:
    """A recipe of one stage, without an evaluation.

    GRPO: every group and every answer is trained, also those that a default would leave out, so
    that the number of trained tokens is that of the other libraries.
    """
    stage: dict[str, Any] = {
        "name": STAGE,
        "algorithm": work.algorithm,
        "data": [{"path": work.rows}],
        "prompts_per_step": work.prompts_per_step,
        "steps": work.steps,
        "lr": work.lr,
    }
    rollout = {"max_model_len": 256, "threads": work.threads}
    if work.algorithm == "grpo":
        stage["algorithm"] = {
            "name": "grpo",
            "group_size": work.group_size,
            "drop_equal_groups": False,
            "train_truncated": True,
        }
        stage["rewards"] = [f"{work.reward}:spread"]
        rollout["max_new_tokens"] = work.answer_tokens
    return {
        "run": {"name": "work", "root": root},
        "model": {"path": work.model},
        "learner": {"threads": work.threads},
        "rollout": rollout,
        "stages": [stage],
    }


def main() -> None:
    work, out = read_work(sys.argv[1]), sys.argv[2]
    watch = Watch()
    watch.install()
    with tempfile.TemporaryDirectory() as root:
        file = Path(root, "recipe.yaml")
        file.write_text(yaml.safe_dump(recipe(work, root)))
        sys.argv = ["plumbline", "run", str(file)]
        try:
            plumbline()
        except SystemExit as stopped:
            if stopped.code:
                raise
        rows = list(read_metrics(Path(root, "work", "stages", STAGE, "metrics.jsonl")))
    lengths = [(row["completion/min"], row["completion/max"]) for row in rows if _sampled(row)]
    write_result(
        out,
        step_seconds=[b - a for a, b in pairwise(watch.ends)],
        reported_step_seconds=[row["time/step_s"] for row in rows],
        once_s=watch.logprobs_s,
        rows=work.prompts_per_step * len(rows),
        tokens_trained=round(sum(row["tokens/trained"] for row in rows)),
        answer_lengths=[min(low for low, _ in lengths), max(high for _, high in lengths)]
        if lengths
        else None,
    )


def _sampled(row: dict[str, Any]) -> bool:
    return "completion/max" in row


if __name__ == "__main__":
    main()
