"""The console of a run: a progress bar with rate and time left, and one line for every step that
says how long each phase of the step took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rl.runtime.shared_cores import CoreUse

PHASES = ("generate", "reward", "reference", "update", "publish", "eval")
SHOWN = (
    ("loss", "loss", ".4f"),
    ("reward", "reward", ".3f"),
    ("rewards/accuracies", "accuracy", ".2f"),
    ("frac_zero_std", "zero-std", ".2f"),
    ("grad_norm", "grad", ".2f"),
    ("parity/max", "parity", ".0e"),
)


def say(console: Console, line: str) -> None:
    """Prints one line as it is: no markup, no colours, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def say_how_to_load(console: Console, stage: str, folder: Path, *, has_vision: bool) -> None:
    """Where a stage's weights are, and how to load them."""
    auto = "AutoModelForImageTextToText" if has_vision else "AutoModelForCausalLM"
    say(console, f"weights of {stage}: {folder}")
    say(console, f'  transformers: {auto}.from_pretrained("{folder}")')
    say(console, f"  vLLM: vllm serve {folder}")


def warn_of_shared_cores(console: Console, since: CoreUse | None) -> None:
    """Says so if other programs keep the cores busy: a run beside them is much slower."""
    if since is not None and (line := since.warning()):
        say(console, line)


class StageProgress:
    """A bar for one stage's steps or one evaluation's questions.

    with stage_progress(console, "grpo", log_every=10) as bar:
        for step in range(1, 101):
            bar.step(step, 100, metrics)     # prints the lines of steps 10, 20, ... 100
    """

    def __init__(self, progress: Progress, task: TaskID, name: str, log_every: int) -> None:
        self._progress, self._task, self._name, self._log_every = progress, task, name, log_every

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Advances to `step` and, every `log_every` steps and at the last, prints its line."""
        self._progress.update(self._task, completed=step, total=total)
        if step % self._log_every == 0 or step == total:
            line = step_line(self._name, step, total, metrics)
            say(self._progress.console, line)

    def advance(self, done: int, total: int) -> None:
        """Sets how many of `total` items are done."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def stage_progress(
    console: Console, name: str, *, log_every: int = 1, total: int | None = None
) -> Iterator[StageProgress]:
    """Shows a bar while the block runs; where the output is no terminal only the lines appear."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shows_bar = console.is_terminal
    with _Rated(*columns, console=console, transient=True, disable=not shows_bar) as progress:
        task = progress.add_task(name, total=total, rate="")
        yield StageProgress(progress, task, name, log_every)


def step_line(name: str, step: int, total: int, metrics: Mapping[str, float]) -> str:
    """One step in one line, e.g. `grpo 12/100  loss 0.01 ...  1.9 s = generate 0.6 + update
    1.1`."""
    shown = [f"{label} {metrics[key]:{form}}" for key, label, form in SHOWN if key in metrics]
    parts = [
        f"{phase} {metrics[f'time/{phase}_s']:.2f}"
        for phase in PHASES
        if metrics.get(f"time/{phase}_s", 0.0) >= 0.005
    ]
    seconds = f"{metrics['time/step_s']:.2f} s" if "time/step_s" in metrics else ""
    rate = f"{metrics['samples/s']:,.0f} samples/s" if "samples/s" in metrics else ""
    spent = f"{seconds} = {' + '.join(parts)}" if parts and seconds else seconds
    return "  ".join(part for part in (f"{name} {step:,}/{total:,}", *shown, rate, spent) if part)


class _Rated(Progress):
    def get_renderables(self) -> Iterator[object]:  # type: ignore[override]
        for task in self.tasks:
            task.fields["rate"] = f"{task.speed:.1f}/s" if task.speed else ""
        yield from super().get_renderables()
