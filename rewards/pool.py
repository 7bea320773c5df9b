"""Scores rollouts on several reward workers, and replaces a worker that is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rl.core import Rollout, Score
from rl.errors import ActorLostError, RewardError, RunError
from rl.runtime.actors import Handle, Pending

# A worker stops at this share of the deadline, so that its partial answer still arrives in time.
_SHARE_OF_DEADLINE = 0.95


class RewardPool:
    """Spreads rollouts over reward workers and returns the scores in order (a `rl.core.Scorer`).

        pool = RewardPool(handles, restart=lambda place: start_worker(place))
        scores = pool.score(rollouts)  # waits for all workers: a tuple of Scores for each rollout
        pool.stop()

    A lost worker is replaced by `restart` (its place in the pool -> a new actor) at most
    `max_restarts` times; after that the pool continues with the others. The rollouts of a lost
    worker are scored again. A reward that fails gives a score of status `error` as long as failures
    are rare. As soon as it is certain that more than `max_error_share` of all scores so far will be
    errors, scoring stops and the first one is raised.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        deadline_s: float = 600.0,
        max_error_share: float = 0.01,
        *,
        restart: Callable[[int], Handle] | None = None,
        max_restarts: int = 3,
        on_event: Callable[..., None] | None = None,
    ) -> None:
        if not handles:
            raise RewardError(
                "no reward workers",
                where="RewardPool",
                expected="at least one",
                do="raise reward_workers.workers",
            )
        self._handles, self._deadline_s = list(handles), deadline_s
        self._max_error_share = max_error_share
        self._restart, self._restarts_left, self._on_event = restart, max_restarts, on_event
        self.num_scores = self.num_errors = 0

    def score(self, rollouts: Sequence[Rollout]) -> list[tuple[Score, ...]]:
        """A score for every completion. Raises: RewardError where too many scores are errors, where
        a worker gives no answer in time, or where no worker is left.
        """
        scored: list[tuple[Score, ...] | None] = [None] * len(rollouts)
        todo = list(range(len(rollouts)))
        while todo:
            self._score_some(rollouts, todo, scored)
            todo = [index for index in todo if scored[index] is None]
        answer = [scores for scores in scored if scores is not None]
        self.num_scores += sum(map(len, answer))
        self.num_errors += len(_errors(answer))
        return answer

    def stop(self) -> None:
        """Ends the workers."""
        for handle in self._handles:
            handle.stop()

    def _score_some(
        self,
        rollouts: Sequence[Rollout],
        todo: Sequence[int],
        scored: list[tuple[Score, ...] | None],
    ) -> None:
        """One round: every worker scores its share of `todo`. The share of a lost worker stays
        unscored.
        """
        shares: list[tuple[Handle, Sequence[int], Pending]] = []
        workers, allowed = len(self._handles), self._allowed(rollouts)
        for number, handle in enumerate(self._handles):
            share = todo[number::workers]
            if share:
                chosen = [rollouts[index] for index in share]
                pending = handle.submit(
                    "score", chosen, allowed, _SHARE_OF_DEADLINE * self._deadline_s
                )
                shares.append((handle, share, pending))
        for handle, share, pending in shares:
            try:
                verdicts = pending.result(self._deadline_s)
            except RunError as error:
                if not isinstance(error, ActorLostError) or not self._lose(handle, len(share)):
                    raise RewardError(
                        error.what,
                        where=f"{handle.name}, scoring {len(share)} rollouts",
                        expected=f"scores within {self._deadline_s:g} s",
                        do=error.do
                        or "look for a reward that hangs or ends its process, or raise "
                        "reward_workers.deadline_s, .workers or .max_restarts",
                    ) from error
                continue
            for index, scores in zip(share, verdicts, strict=False):
                scored[index] = tuple(scores)
            self._require_few_errors(scored, allowed)
            self._require_all(handle, [rollouts[index] for index in share], verdicts)

    def _lose(self, handle: Handle, num_rollouts: int) -> bool:
        """Replaces a lost worker, or removes it from the pool. False where no worker is left."""
        if self._on_event is not None:
            self._on_event(
                "reward_worker_lost", worker=handle.name, rollouts_in_flight=num_rollouts
            )
        place = self._handles.index(handle)
        if self._restart is None or self._restarts_left == 0:
            self._handles.remove(handle)
            return bool(self._handles)
        self._restarts_left -= 1
        handle.stop()  # frees the actor's name for the new one
        self._handles[place] = self._restart(place)
        if self._on_event is not None:
            self._on_event(
                "reward_worker_restarted", worker=handle.name, rollouts_scored_again=num_rollouts
            )
        return True

    def _allowed(self, rollouts: Sequence[Rollout]) -> int:
        """How many of the scores of these rollouts may be errors."""
        total = self.num_scores + sum(len(rollout.completions) for rollout in rollouts)
        return max(0, int(self._max_error_share * total) - self.num_errors)

    def _require_few_errors(self, scored: Sequence[tuple[Score, ...] | None], allowed: int) -> None:
        judged = [scores for scores in scored if scores is not None]
        errors = _errors(judged)
        if len(errors) > allowed:
            num_scores = self.num_scores + sum(map(len, judged))
            raise RewardError(
                f"{self.num_errors + len(errors)} of {num_scores} scores are errors; "
                f"the first: {errors[0].reason}",
                expected=f"at most {self._max_error_share:.0%}",
                do="fix the reward, or the rows that it cannot read",
            )

    def _require_all(
        self, handle: Handle, share: Sequence[Rollout], verdicts: Sequence[Sequence[Score]]
    ) -> None:
        """Raises: RewardError where the worker ran out of time and left some completions out."""
        judged, wanted = sum(map(len, verdicts)), sum(len(r.completions) for r in share)
        if judged == wanted:
            return
        errors = _errors(verdicts)
        raise RewardError(
            f"{judged} of {wanted} answers were judged within {self._deadline_s:g} s"
            + (f"; the first error: {errors[0].reason}" if errors else ""),
            where=handle.name,
            do="look for a slow reward, or raise reward_workers.deadline_s or .workers",
        )


def _errors(scored: Sequence[Sequence[Score]]) -> list[Score]:
    return [score for scores in scored for score in scores if score.status == "error"]
