"""Runs a rubric in a child process that can be killed: a reward that raises, hangs or dies costs
one score, not the run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewards.base import RewardConfig, Rubric
from rl.child import Child
from rl.core import Completion, Rollout, Sample, Score
from rl.errors import RewardError

_START_DEADLINE_S = 60.0


class RewardWorker:
    """Scores completions in a child process, with a deadline for each completion.

        worker = RewardWorker([RewardConfig(name="exact")], deadline_s=10.0)  # starts the child
        scores = worker.score(rollouts)  # a tuple of Scores for each rollout
        worker.close()                   # ends the child

    Where a reward raises, runs longer than `deadline_s`, ends its process or returns something that
    is no reward, the score has status `error` and no value, and its reason names uid and reward.
    The child is then started again. The class is plain: it runs as a Ray actor or in this process.
    Raises: ConfigError where the rubric cannot be built.
    """

    def __init__(
        self,
        configs: Sequence[RewardConfig],
        deadline_s: float = 10.0,
        base: str | Path | None = None,
    ) -> None:
        self._configs, self._deadline_s = tuple(configs), deadline_s
        self._base = None if base is None else str(base)
        # Builds the rubric here too, so that a wrong config is refused before the child starts.
        self._labels = Rubric(self._configs, None if base is None else Path(base)).labels
        self._child: Child | None = None
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
        """A score for every completion, in order.

        Stops early, and returns the scores so far, as soon as more than `max_errors` are errors, or
        as soon as one more answer as slow as the slowest so far would end after `within_s` seconds.
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
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self.close()

    def _score_one(self, sample: Sample, completion: Completion) -> Score:
        try:
            return self._ask(sample, completion)
        except RewardError as error:
            return Score(None, "error", error.line(), dict.fromkeys(self._labels))

    def _ask(self, sample: Sample, completion: Completion) -> Score:
        """The child's score. Raises: RewardError where the reward or the child fails."""
        if self._child is None:
            self._start()
            self.num_restarts += 1
        assert self._child is not None
        child, running = self._child, self._labels[0]
        try:
            child.pipe.send((sample, completion))
            while True:
                if not child.pipe.poll(self._deadline_s):
                    self.close()
                    raise RewardError(
                        f"gave no answer within {self._deadline_s:g} s and was stopped",
                        where=f"reward {running}, sample {sample.uid}",
                        expected="an answer in time",
                        do="fix the reward, or raise reward_workers.answer_deadline_s",
                    )
                kind, value = child.pipe.recv()
                if kind == "running":
                    running = value
                elif kind == "error":
                    raise value
                else:
                    assert isinstance(value, Score)
                    return value
        except (EOFError, ConnectionError) as error:
            code = child.wait(5.0)
            self.close()
            raise RewardError(
                f"ended its process (exit status {code})",
                where=f"reward {running}, sample {sample.uid}",
                expected="a reward that returns",
                do="look for exit calls, native crashes or memory in the function",
            ) from error

    def _start(self) -> None:
        self._child = Child("rewards._child:main")
        self._child.pipe.send((self._configs, self._base))
        kind, value = self._first_word()
        if kind == "refused":
            self.close()
            raise value

    def _first_word(self) -> tuple[str, Any]:
        assert self._child is not None
        try:
            if self._child.pipe.poll(_START_DEADLINE_S):
                kind, value = self._child.pipe.recv()
                return kind, value
            problem = f"was not ready within {_START_DEADLINE_S:g} s"
        except (EOFError, ConnectionError):
            problem = "ended while it started"
        self.close()
        raise RewardError(
            f"the reward process {problem}",
            where="rewards",
            expected="a process that imports the rewards",
            do="look at what its file does on import, and at the memory that is left",
        )


def check_on_two_rows(
    rubric: Rubric, samples: Sequence[Sample], deadline_s: float = 10.0
) -> list[Score]:
    """The scores of the reference answer and of an empty answer to each of the first two samples.

    Called before any engine starts, so that a reward that cannot work stops the run at once.
    Raises: ConfigError for an argument that the data cannot supply; RewardError, which names uid
    and reward, for any other failure.
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
    """A completion of that text, with one made-up token id for each word and one for its end."""
    ids = tuple(range(len(text.split()) + 1))
    return Completion(ids, (0.0,) * len(ids), text, "stop", (0,) * len(ids))
