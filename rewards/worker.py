"""Runs a rubric in a child process that can be killed: a reward that raises, hangs or dies costs
one score, not the run.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rewards.base import RewardConfig, Rubric
from rl.core import Completion, Rollout, Sample, Score
from rl.errors import RewardError

_START_DEADLINE_S = 60.0
_BOOT = (
    "import json,sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from rewards._child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class RewardWorker:
    """Scores completions in a warm child process, one deadline a completion.

    A reward that raises, runs past `deadline_s`, kills its process or returns something that is no
    reward gives a score of status `error` with the RewardError's line (uid and reward named) as its
    reason, never a value. The child is restarted. A plain class: an actor, or an object of this
    process. Raises: ConfigError where the rubric cannot be built.
    """

    def __init__(
        self,
        configs: Sequence[RewardConfig],
        deadline_s: float = 10.0,
        base: str | Path | None = None,
    ) -> None:
        self._configs, self._deadline_s = tuple(configs), deadline_s
        self._base = None if base is None else str(base)
        # Refused here, in one line, rather than in the child.
        self._labels = Rubric(self._configs, None if base is None else Path(base)).labels
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self.num_restarts = 0
        self._start()

    def labels(self) -> tuple[str, ...]:
        """The components' names."""
        return self._labels

    def score(
        self,
        rollouts: Sequence[Rollout],
        max_errors: int | None = None,
        within_s: float = math.inf,
    ) -> list[tuple[Score, ...]]:
        """A verdict for every completion, in order. What follows is left out where more than
        `max_errors` are errors, or where one more answer as slow as the slowest would end after
        `within_s`.
        """
        scored: list[tuple[Score, ...]] = []
        num_errors, slowest_s, started = 0, 0.0, time.monotonic()
        for rollout in rollouts:
            scores: list[Score] = []
            for completion in rollout.completions:
                asked = time.monotonic()
                is_hopeless = max_errors is not None and num_errors > max_errors
                if is_hopeless or asked - started + slowest_s > within_s:
                    return [*scored, tuple(scores)] if scores else scored
                scores.append(self._score_one(rollout.sample, completion))
                num_errors += scores[-1].status == "error"
                slowest_s = max(slowest_s, time.monotonic() - asked)
            scored.append(tuple(scores))
        return scored

    def close(self) -> None:
        """Ends the child process."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            _kill(self._process)
            self._process = None

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _score_one(self, sample: Sample, completion: Completion) -> Score:
        try:
            return self._ask(sample, completion)
        except RewardError as error:
            return Score(None, "error", error.line(), dict.fromkeys(self._labels))

    def _ask(self, sample: Sample, completion: Completion) -> Score:
        """Raises: RewardError."""
        if self._pipe is None:
            self._start()
            self.num_restarts += 1
        assert self._pipe is not None
        running = self._labels[0]
        try:
            self._pipe.send((sample, completion))
            while True:
                if not self._pipe.poll(self._deadline_s):
                    self.close()
                    raise RewardError(
                        f"gave no answer within {self._deadline_s:g} s and was stopped",
                        where=f"reward {running}, sample {sample.uid}",
                    )
                kind, value = self._pipe.recv()
                if kind == "running":
                    running = value
                elif kind == "error":
                    raise value
                else:
                    assert isinstance(value, Score)
                    return value
        except (EOFError, ConnectionError) as error:
            code = self._process.wait(5.0) if self._process is not None else None
            self.close()
            raise RewardError(
                f"ended its process (exit status {code})",
                where=f"reward {running}, sample {sample.uid}",
            ) from error

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Not multiprocessing: its spawn would run the caller's main module again
            # (Ray's, or an unguarded script).
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BOOT,
                    json.dumps([path or os.getcwd() for path in sys.path]),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._pipe = Connection(ours.detach())
        self._pipe.send((self._configs, self._base))
        kind, value = self._first_word()
        if kind == "refused":
            self.close()
            raise value

    def _first_word(self) -> tuple[str, Any]:
        assert self._pipe is not None
        try:
            if self._pipe.poll(_START_DEADLINE_S):
                kind, value = self._pipe.recv()
                return kind, value
            problem = f"was not ready within {_START_DEADLINE_S:g} s"
        except (EOFError, ConnectionError):
            problem = "ended while it started"
        self.close()
        raise RewardError(f"the reward process {problem}", where="rewards")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the child and whatever it started: it leads its own session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()


def check_on_two_rows(
    rubric: Rubric, samples: Sequence[Sample], deadline_s: float = 10.0
) -> list[Score]:
    """Runs the rubric on the reference answer and on an empty one of the first two samples, before
    any engine starts.

    Raises: ConfigError for an argument that the data cannot supply, RewardError naming uid and
    reward for the rest.
    """
    rows = list(samples[:2])
    rubric.check(rows)
    worker = RewardWorker(rubric.configs, deadline_s, rubric.base)
    try:
        scores = [
            worker._ask(sample, _answer(text))
            for sample in rows
            for text in (_reference(sample), "")
        ]
    finally:
        worker.close()
    return scores


def _reference(sample: Sample) -> str:
    return str(sample.references[0] if sample.references else sample.meta.get("solution", ""))


def _answer(text: str) -> Completion:
    ids = tuple(range(len(text.split()) + 1))
    return Completion(ids, (0.0,) * len(ids), text, "stop", (0,) * len(ids))
