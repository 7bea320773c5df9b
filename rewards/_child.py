"""The process in which reward functions run: it may be killed at any moment.

It says which reward it is about to run, so that its parent can name the one that hung or died.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rewards.base import Rubric
from rl.errors import PlumblineError, RewardError


def main(pipe: Connection) -> None:
    """Serves until the pipe closes: takes (configs, base), then answers; sends (kind, value)."""
    try:
        _serve(pipe)
    except (EOFError, BrokenPipeError):
        return


def _serve(pipe: Connection) -> None:
    configs, base = pipe.recv()
    try:
        rubric = Rubric(configs, base and Path(base))
    except PlumblineError as error:
        pipe.send(("refused", error))
        return
    pipe.send(("ready", rubric.labels))
    while True:
        sample, completion = pipe.recv()
        try:
            answer: tuple[str, Any] = (
                "score",
                rubric.score(sample, completion, lambda label: pipe.send(("running", label))),
            )
        except RewardError as error:
            answer = ("error", error)
        pipe.send(answer)
