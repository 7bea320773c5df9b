"""The metrics of training: what each key means, in one sentence, and where the numbers are written.

Every key that a step reports is declared once: in `METRICS`, or by the algorithm that alone reports
it (`Algorithm.own_metrics`). A `*` in a key is any name, that of a reward for example. The numbers
go to `metrics.jsonl` (always), to TensorBoard, and to further sinks given as arguments.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol

from rl.errors import DataError, RunError

METRICS: dict[str, str] = {
    "step": "Steps done in this stage, the one reported included.",
    "epoch": "Passes over the stage's rows so far.",
    "loss": (
        "The step's loss: sums over the whole step, or each of its mini-batches, divided by global "
        "denominators."
    ),
    "updates": (
        "Updates of the weights in this step, where it may make several. Other metrics of the "
        "learner are then means over them."
    ),
    "lr": "Learning rate of the step's last update.",
    "grad_norm": "Global gradient norm before clipping.",
    "loss_scale": "float16: factor of the loss in the backward passes of the step's last update.",
    "skipped": "float16: share of the step's updates left out because gradients overflowed.",
    "kl": "Mean k3 estimate of the divergence from the reference, per token.",
    "entropy": (
        "Mean negative log-prob of the sampled tokens under the policy: an estimate of its "
        "entropy, per token."
    ),
    "clip_frac": (
        "Share of trained tokens whose ratio left the clip range on the side where the clip acts."
    ),
    "frac_zero_std": "Share of groups whose rewards are all equal: they teach nothing.",
    "frac_truncated": "Share of completions ended by the length limit.",
    "frac_error": "Share of completions whose reward failed: our error, outside every mean.",
    "frac_unscored": "Share of completions without a score: no reward applied, or it failed.",
    "accuracy/token": "Share of trained tokens whose log-prob is above log 1/2.",
    "rewards/chosen": (
        "Mean implicit reward of chosen (desirable) answers: beta times log-ratio to the reference."
    ),
    "rewards/rejected": "Mean implicit reward of rejected (undesirable) answers.",
    "rewards/margins": "Mean difference of the two implicit rewards of a pair.",
    "rewards/accuracies": (
        "Share of the step's training pairs whose chosen answer has the higher implicit reward."
    ),
    "logps/chosen": "Mean summed log-prob of chosen (desirable) answers.",
    "logps/rejected": "Mean summed log-prob of rejected (undesirable) answers.",
    "mismatch/log_ratio": "Mean log-ratio of learner to engine on the sampled tokens.",
    "mismatch/ratio": "Mean ratio of learner to engine on the sampled tokens.",
    "mismatch/ratio_squared": (
        "Mean squared ratio; the effective sample size is the square of `mismatch/ratio` over it."
    ),
    "mismatch/masked": "Share of trained tokens whose answer the sequence mask left out.",
    "reward": "Mean total reward over scored completions.",
    "reward/std": "Standard deviation of the total reward over scored completions.",
    "reward/*/mean": "Mean of one reward over the completions that it scored.",
    "reward/*/unscored": "Share of completions that this reward did not apply to.",
    "completion/mean": "Mean length of completions in tokens, end token included.",
    "completion/min": "Length of the shortest completion.",
    "completion/max": "Length of the longest completion.",
    "parity/max": (
        "Largest difference of log-probs between engine and learner over the probes at the "
        "last publish."
    ),
    "parity/mean": (
        "Mean difference of log-probs between engine and learner over the probes at the last "
        "publish."
    ),
    "version": "Weight version that the rollout workers serve.",
    "tokens/trained": "Tokens that carry loss in this step, once for each update on them.",
    "tokens/forward": "Tokens run forward with gradient, a tree's trunk counted once.",
    "tokens/padded": "Padding run forward with gradient: places of rows that hold no token.",
    "tokens/generated": "New tokens sampled in this step.",
    "samples/s": "Completions (online) or rows (offline) per second of the step.",
    "eval/select": "Mean over benchmarks of eval/*/select, in the middle of the stage.",
    "eval/*/select": "Value on the benchmark's select part as a share of its maximum.",
    "eval/gate": "Worst verdict of the gate in the middle of the stage: 0 pass, 1 warn, 2 fail.",
    "time/step_s": "Seconds of the whole step.",
    "time/generate_s": "Seconds spent sampling.",
    "time/reward_s": "Seconds spent in rewards.",
    "time/reference_s": "Seconds spent on reference and old log-probs.",
    "time/update_s": "Seconds spent in forward, backward and the optimizer.",
    "time/publish_s": (
        "Seconds spent giving the new weights to the rollout workers, parity gate included."
    ),
    "time/eval_s": "Seconds spent evaluating.",
    "time/data_s": "Seconds spent making trees from samples.",
}


def describe(key: str, own: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The sentence that explains a metric key; None where the key is not declared.

    own: an algorithm's table (`own_metrics`), beside the common one.

    >>> describe("lr"), describe("lrr")
    ("Learning rate of the step's last update.", None)
    >>> describe("reward/exact/mean")
    'Mean of one reward over the completions that it scored.'
    """
    declared = {**own, **METRICS}
    if key in declared:
        return declared[key]
    for pattern, text in declared.items():
        if "*" in pattern and re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), key):
            return text
    return None


class Sink(Protocol):
    """Where one step's numbers go. `step` counts the stage's steps from 1."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonlSink:
    """Appends one line of JSON for each step and flushes it: a run that is killed keeps it.
    JSON has no NaN and no infinities: they become null."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        row = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardSink:
    """Scalars for TensorBoard under `folder`.

    purge_after: the last step that an earlier attempt at the stage keeps; TensorBoard replaces what
        it shows of later steps, which are done again.
    """

    def __init__(self, folder: Path, purge_after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = purge_after + 1 if purge_after else None
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Metrics:
    """Writes each step's numbers to every sink.

    own: the algorithm's own table. A key that neither it nor `METRICS` declares is a RunError, so
        that the tables stay complete.

        with closing(Metrics([JsonlSink(path)], algorithm.own_metrics)) as metrics:
            metrics.write(1, {"loss": 0.5, "lr": 1e-6})
    """

    def __init__(
        self, sinks: Sequence[Sink], own: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._sinks, self._own = sinks, own

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        unknown = [key for key in metrics if describe(key, self._own) is None]
        if unknown:
            raise RunError(
                f"metric keys {unknown} are not declared",
                do="add them to the algorithm's own_metrics",
            )
        for sink in self._sinks:
            sink.write(step, metrics)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, one mapping each; none where there is no file. A last line
    without its end is left out: the run was killed while it wrote it.

    Raises: DataError naming file:line for a line that is no JSON object.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield _step(line, f"{path}:{number}")


def _step(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        row, problem = None, f"no JSON: {error}"
    else:
        problem = f"the line holds {str(row)[:40]}"
    if not isinstance(row, dict):
        raise DataError(
            problem, where=where, expected="a step as a JSON object", do="remove the line"
        )
    return row


def keep_steps(path: Path, last: int) -> list[dict[str, Any]]:
    """Removes the lines of steps after `last`, which a resumed stage writes again; returns them."""
    if not path.exists():
        return []
    rows = list(read_metrics(path))
    kept = [row for row in rows if row["step"] <= last]
    aside = path.with_name(f".{path.name}.writing")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(aside, path)
    return [row for row in rows if row["step"] > last]


def spent(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The seconds and tokens of these steps, summed; keys that sum to 0 are left out.

    >>> spent([{"time/step_s": 1.5, "tokens/forward": 100}, {"time/step_s": 0.5}])
    {'time/step_s': 2.0, 'tokens/forward': 100.0}
    """
    keys = ("time/step_s", "tokens/trained", "tokens/forward", "tokens/generated")
    sums = {key: sum(float(row.get(key) or 0.0) for row in rows) for key in keys}
    return {key: round(value, 3) for key, value in sums.items() if value}
