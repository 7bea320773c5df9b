"""The process in which reward functions run; its parent (`rewards/worker.py`) may kill it any time.

Before each reward it sends that reward's label, so that the parent can name the one that hung or
ended the process.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rewards.base import Rubric
from rl.errors import PlumblineError, RewardError


def main(pipe: Connection) -> None:
    """Serves until the pipe closes.

    It receives (configs, base) once and sends ("ready", labels) or ("refused", error). Then, for
    each (sample, completion), it sends ("running", label) for every reward and ("score", score) or
    ("error", error).
    """
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
