"""Many rollout workers as one sampler: groups stay whole, engines full, answers in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.core import Rollout, Sample, Sampling
from rl.errors import (
    ActorLostError,
    ConfigError,
    DataError,
    PlumblineError,
    RolloutError,
    RunError,
)
from rl.runtime.actors import Handle, Pending
from rollouts.base import GenerateRequest, GenerateResult, completion_seed

OnError = Callable[[Sample, str], None]
Progress = Callable[[int], None]
# A worker's place -> a new actor for it, started and ready, serving the model's first weights.
Restart = Callable[[int], Handle]
OnEvent = Callable[..., None]

# Two calls a worker: while the driver takes one's results, the engine runs the next.
_CALLS_IN_FLIGHT = 2


@dataclass
class _Worker:
    """A handle, its calls under way (oldest first), and the tokens that it still owes."""

    handle: Handle
    calls: deque[Pending] = field(default_factory=deque)
    owed: dict[int, GenerateRequest] = field(default_factory=dict)  # by ticket
    tokens: dict[int, int] = field(default_factory=dict)

    @property
    def load(self) -> int:
        """Tokens that are outstanding."""
        return sum(self.tokens[ticket] for ticket in self.owed)


class Pool:
    """Implements rl.core.Sampler over rollout workers.

    `prompt_text` writes a sample's prompt as the engines take it: one placeholder an image.
    `deadline_s` bounds every wait for a part of the answers, `publish_deadline_s` a publish. A
    worker whose process is lost is started anew by `restart`, takes the weights served before it
    serves, and its unfinished requests are asked again: their seeds are their own, so the answers
    are the same. More than `max_restarts` in a pool's life are an error.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        prompt_text: Callable[[Sample], str],
        *,
        max_num_seqs: int = 256,
        deadline_s: float = 600.0,
        publish_deadline_s: float = 120.0,
        restart: Restart | None = None,
        max_restarts: int = 3,
        on_event: OnEvent | None = None,
    ) -> None:
        if not handles:
            raise ConfigError("no rollout worker", where="rollout.workers", expected="at least 1")
        self.handles, self._prompt_text = list(handles), prompt_text
        self._max_num_seqs = max_num_seqs
        self._deadline_s, self._publish_deadline_s = deadline_s, publish_deadline_s
        self._restart, self._restarts_left = restart, max_restarts
        self._on_event = on_event or _no_event
        self._next_ticket = 0
        self._path: str | None = None  # the file of the weights served
        self.version = 0

    @property
    def names(self) -> list[str]:
        """The workers' names, in order."""
        return [handle.name for handle in self.handles]

    def sample(
        self, samples: Sequence[Sample], sampling: Sampling, *, progress: Progress | None = None
    ) -> list[Rollout]:
        """One rollout a sample, in the order given; `progress` hears how many samples are done.

        Raises: DataError naming the sample whose prompt an engine refused; DeadlineError.
        """
        found: dict[int, Rollout] = {}
        for index, rollout in self._stream(samples, sampling, None):
            found[index] = rollout
            if progress is not None:
                progress(len(found))
        return [found[index] for index in range(len(samples))]

    def sample_stream(
        self, samples: Sequence[Sample], sampling: Sampling, *, on_error: OnError | None = None
    ) -> Iterator[Rollout]:
        """Rollouts as they are done, in any order, the engines kept full meanwhile.

        With `on_error` a sample that an engine refuses is reported there and left out.
        """
        for _, rollout in self._stream(samples, sampling, on_error):
            yield rollout

    def sample_on(
        self, worker: int, samples: Sequence[Sample], sampling: Sampling
    ) -> list[Rollout]:
        """The same from one worker alone: the parity gate asks each."""
        requests = self._requests(samples, sampling)
        results: list[GenerateResult] = self._call(
            worker, self._deadline_s, "generate", requests, sampling
        )
        return [_rollout(s, r) for s, r in zip(samples, results, strict=True)]

    def publish(self, version: int, path: str) -> None:
        """Every worker takes the weights; returns when all serve them. Raises: RolloutError."""
        calls = [handle.submit("update_weights", version, path) for handle in self.handles]
        self._path, self.version = path, version
        for place, call in enumerate(calls):
            try:
                served = call.result(self._publish_deadline_s)
            except RunError as error:
                self._revive(place, error)  # it takes the new weights as it starts
                continue
            if served != version:
                raise RolloutError(
                    f"version {served} is served after the publish of {version}",
                    where=self.handles[place].name,
                )

    def remedy(self, name: str, version: int, path: str) -> None:
        """One step of the parity gate's diagnosis on every worker (see RolloutWorker.remedy)."""
        calls = [handle.submit("remedy", name, version, path) for handle in self.handles]
        for call in calls:
            call.result(self._publish_deadline_s)

    def _stream(
        self, samples: Sequence[Sample], sampling: Sampling, on_error: OnError | None
    ) -> Iterator[tuple[int, Rollout]]:
        queue = deque(self._requests(samples, sampling))
        first = queue[0].ticket if queue else 0
        workers = [_Worker(handle) for handle in self.handles]
        groups = self._groups_a_call(len(queue), sampling.n)
        try:
            while queue or any(worker.owed for worker in workers):
                self._fill(workers, queue, sampling, groups)
                worker = max(workers, key=lambda w: (len(w.calls), w.load))
                try:
                    results = worker.calls.popleft().result(self._deadline_s)
                except RunError as error:
                    queue.extendleft(reversed(worker.owed.values()))
                    self._take_over(workers, worker, error)
                    continue
                for result in results:
                    worker.owed.pop(result.ticket)
                    sample = samples[result.ticket - first]
                    if result.error is not None and on_error is not None:
                        on_error(sample, result.error)
                        continue
                    yield result.ticket - first, _rollout(sample, result)
        finally:
            self._give_up(workers)

    def _take_over(self, workers: Sequence[_Worker], lost: _Worker, error: RunError) -> None:
        """A lost worker starts anew; what it owed is in the queue again."""
        owed = len(lost.owed)
        lost.calls.clear()
        lost.owed.clear()
        lost.handle = self._revive(workers.index(lost), error, requests_in_flight=owed)

    def _revive(self, place: int, error: RunError, *, requests_in_flight: int = 0) -> Handle:
        """A new actor in a lost one's place, serving the current weights. Raises: `error` itself
        where its process lives; RolloutError where no restart is left.
        """
        lost = self.handles[place]
        if not isinstance(error, ActorLostError) or self._restart is None:
            raise error
        self._on_event(
            "rollout_worker_lost",
            worker=lost.name,
            version=self.version,
            requests_in_flight=requests_in_flight,
        )
        if self._restarts_left == 0:
            raise RolloutError(
                f"its process was lost again: {error.what}",
                where=lost.name,
                expected="few losses",
                do="look at the actor's log (memory?), or raise rollout.max_restarts",
            ) from error
        self._restarts_left -= 1
        lost.stop()  # its name is free then
        handle = self._restart(place)
        self.handles[place] = handle
        if self._path is not None:
            handle.call(
                "update_weights", self.version, self._path, deadline_s=self._publish_deadline_s
            )
        self._on_event("rollout_worker_restarted", worker=handle.name, version=self.version)
        return handle

    def _call(self, place: int, deadline_s: float, method: str, *args: Any) -> Any:
        """One call of one worker, once more where its process was lost."""
        try:
            return self.handles[place].call(method, *args, deadline_s=deadline_s)
        except RunError as error:
            return self._revive(place, error).call(method, *args, deadline_s=deadline_s)

    def _fill(
        self,
        workers: Sequence[_Worker],
        queue: deque[GenerateRequest],
        sampling: Sampling,
        groups: int,
    ) -> None:
        """Sends what may be sent: the next requests to whoever owes the fewest tokens."""
        while queue:
            free = [worker for worker in workers if len(worker.calls) < _CALLS_IN_FLIGHT]
            if not free:
                return
            worker = min(free, key=lambda w: w.load)
            part = [queue.popleft() for _ in range(min(groups, len(queue)))]
            worker.owed.update({request.ticket: request for request in part})
            worker.tokens.update({r.ticket: _tokens(r, sampling) for r in part})
            keep = self._max_num_seqs if queue else 0
            worker.calls.append(worker.handle.submit("advance", part, sampling, keep))
        for worker in workers:
            if worker.owed and not worker.calls:
                worker.calls.append(worker.handle.submit("advance", [], sampling, 0))

    def _groups_a_call(self, num_groups: int, n: int) -> int:
        """Half an engine's slots a call, and two calls a worker or more, so that loads even out."""
        share = -(-num_groups // (_CALLS_IN_FLIGHT * len(self.handles)))
        return max(1, min(self._max_num_seqs // (2 * n), share))

    def _requests(self, samples: Sequence[Sample], sampling: Sampling) -> list[GenerateRequest]:
        first = self._next_ticket
        self._next_ticket += len(samples)
        return [
            GenerateRequest(
                ticket=first + offset,
                uid=sample.uid,
                prompt=self._prompt_text(sample),
                images=sample.images,
                seeds=tuple(
                    completion_seed(sampling.seed, sampling.step, sample.uid, index)
                    for index in range(sampling.n)
                ),
            )
            for offset, sample in enumerate(samples)
        ]

    def _give_up(self, workers: Sequence[_Worker]) -> None:
        """A caller that stops early, or an error: nothing of this call stays in the engines."""
        for worker in workers:
            if worker.owed:
                with contextlib.suppress(PlumblineError):
                    worker.handle.submit("abort")


def _no_event(event: str, **_: Any) -> None:
    """Nobody listens."""


def _tokens(request: GenerateRequest, sampling: Sampling) -> int:
    """A rough count of the work: a token is about three characters, new ones cost the most."""
    return len(request.prompt) // 3 + len(request.seeds) * sampling.max_new_tokens


def _rollout(sample: Sample, result: GenerateResult) -> Rollout:
    if result.error is not None:
        raise DataError(result.error, where=f"sample {result.uid}", do="mend or remove the row")
    return Rollout(sample, result.prompt_token_ids, result.completions)
